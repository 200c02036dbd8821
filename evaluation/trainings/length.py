"""The length of each training: --images or --seconds."""

import argparse
from dataclasses import dataclass

from vaegan.config import Config
from vaegan.errors import UserError


@dataclass(frozen=True)
class Length:
    """The length of each training: a number of images, or of seconds of training."""

    images: int | None
    seconds: float | None

    @staticmethod
    def of(options: argparse.Namespace) -> "Length":
        """The length by --images or --seconds; `UserError` unless one of them is given."""
        if (options.images is None) == (options.seconds is None):
            given = "Neither is" if options.images is None else "Both are"
            raise UserError(
                f"{given} given of --images and --seconds: say how many images each model is to "
                "see, or how many seconds it is to be trained."
            )
        return Length(options.images, options.seconds)

    def options(self, config: Config) -> tuple[str, str]:
        """The option of `launch/train.py`; `UserError` for less than a batch of images."""
        if self.images is None:
            return "--max-seconds", str(self.seconds)
        batch = config.images_per_step
        if self.images < batch:
            raise UserError(
                f"--images {self.images} is less than one batch of {batch}: give {batch} or more."
            )
        return "--max-steps", str(self.images // batch)


def add_length_options(parser: argparse.ArgumentParser, place: str = "") -> None:
    """--images and --seconds; `place` is for their help text."""
    add = parser.add_argument
    add("--images", type=int, help=f"how many images each model sees{place}")
    add(
        "--seconds",
        type=float,
        help=f"or how many seconds each model is trained{place}: those of its steps, without the "
        "start and the pauses for pictures and files; the clock is read whenever metrics are "
        "logged",
    )
