"""The exception for what the user can correct, and the text of its message."""

import signal


class UserError(ValueError):
    """Something that the user gave cannot be used.

    The message is one sentence: what was given, what is allowed, what to do. Entry points
    print it without a traceback and leave with exit code 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(in_one_line(message))


class RunCompleteError(UserError):
    """There is nothing left to train in the run that was to be resumed."""


class InterruptedRunError(Exception):
    """A signal has ended the run before its last step, and the run was saved.

    `exit_code` is 130 for Ctrl-C, as in shells, and otherwise 75, EX_TEMPFAIL of sysexits.h: the
    same command may be started again.
    """

    def __init__(self, number: signal.Signals, step: int, *, saved: bool) -> None:
        self.exit_code = 130 if number is signal.SIGINT else 75
        state = "is saved up to there" if saved else "has an older checkpoint"
        super().__init__(
            f"Stopped by {number.name} after step {step:,}. The run {state}: "
            "continue with --resume."
        )


def in_one_line(text: str) -> str:
    """`text` with line ends, control characters and broken Unicode escaped.

    Names of files may hold all of these, and a terminal interprets some of them.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def sentence(error: UserError | OSError) -> str:
    """The message that an entry point prints for an error; raises errors that are not the user's.

    A file system can refuse any operation: too long a name, no permission, no room.
    """
    if isinstance(error, UserError):
        return str(error)
    if error.filename is None:
        raise error
    name = error.filename.decode() if isinstance(error.filename, bytes) else str(error.filename)
    return in_one_line(
        f"{name} cannot be used ({error.strerror}): correct that, or choose another place."
    )
