"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: what was given, what is allowed, what to do. Entry points
    print it without a traceback and leave with exit code 2.
    """


class RunCompleteError(UserError):
    """There is nothing left to train in the run that was to be resumed."""
