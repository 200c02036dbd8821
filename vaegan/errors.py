"""The one exception that means "the user can mend this", and how it is said."""


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: what was given, what is allowed, what to do. Entry points
    print it without a traceback and leave with exit code 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(in_one_line(message))


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
