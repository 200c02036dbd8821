"""The one exception that means "the user can mend this"."""

import signal


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: what was given, what is allowed, what to do. Entry points
    print it without a traceback and leave with exit code 2.
    """


class RunCompleteError(UserError):
    """There is nothing left to train in the run that was to be resumed."""


class InterruptedRunError(Exception):
    """A signal has ended the run before its last step, and it was left in order.

    `exit_code` is 130 for Ctrl-C, as shells have it, and otherwise 75: EX_TEMPFAIL of sysexits.h,
    nothing is wrong and the same command may be started again.
    """

    def __init__(self, number: signal.Signals, step: int, *, saved: bool) -> None:
        self.exit_code = 130 if number is signal.SIGINT else 75
        state = "is saved up to there" if saved else "has an older checkpoint"
        super().__init__(
            f"Stopped by {number.name} after step {step:,}. The run {state}: go on with --resume."
        )
