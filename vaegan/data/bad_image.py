"""The error of every file that is no image, whatever reads it."""


class BadImageError(Exception):
    """A file that cannot be read as an image; the message gives the reason in a few words.

    `lasting` is false where it may be readable at the next attempt, as after a fault of the disk.
    """

    def __init__(self, why: str, *, lasting: bool = True) -> None:
        super().__init__(why)
        self.lasting = lasting
