"""The attributes of a data set: which of its named properties each image has."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Attributes:
    """A yes or no for each image and attribute."""

    names: tuple[str, ...]
    values: Tensor
    """bool [N,A]: whether image n has attribute a."""

    def __len__(self) -> int:
        return len(self.values)

    def select(self, rows: Tensor) -> "Attributes":
        """Those of these images, in this order; rows: int64 [n], or bool [N]."""
        return Attributes(self.names, self.values[rows])
