"""The one exception that means "the user can mend this", and how it is said."""

import signal


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: what was given, what is allowed, what to do. Entry points
    print it without a traceback and leave with exit code 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(in_one_line(message))


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


def in_one_line(text: str) -> str:
    """`text` with line ends, control characters and broken Unicode escaped.

    Names of files may hold all of these, and a terminal would obey some of them.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def sentence(error: UserError | OSError) -> str:
    """What an entry point prints of an error that it caught; raises what is none of the user's.

    A file system can refuse anything at any time: names that are too long, no permission, no room.
    """
    if isinstance(error, UserError):
        return str(error)
    if error.filename is None:
        raise error
    name = error.filename.decode() if isinstance(error.filename, bytes) else str(error.filename)
    return in_one_line(
        f"{name} cannot be used ({error.strerror}): mend that, or choose another place."
    )
