"""One training of a comparison, as its process is given it."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.autoencoders.contenders import CONTENDERS, AutoencoderContender
from benchmarks.record.job import Job


@dataclass(frozen=True)
class AutoencoderJob(Job):
    """A contender and a seed."""

    disc_start: int = 0
    """Steps of the public step before its GAN terms."""

    @classmethod
    def contenders(cls) -> Mapping[str, AutoencoderContender]:
        return CONTENDERS

    @property
    def kind(self) -> AutoencoderContender:
        return CONTENDERS[self.contender]
