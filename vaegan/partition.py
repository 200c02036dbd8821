"""Which images of the global batch are this process's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Partition:
    """The global batch cut into one run of places for each process, as even as can be.

    An image's order and noise follow from its place in the global batch, so that they are the
    same on any number of processes.
    """

    global_batch: int
    rank: int = 0
    world_size: int = 1

    @property
    def part(self) -> slice:
        """This process's places."""
        starts = [
            rank * self.global_batch // self.world_size for rank in (self.rank, self.rank + 1)
        ]
        return slice(*starts)

    @property
    def images_per_process(self) -> float:
        """The mean over the processes."""
        return self.global_batch / self.world_size
