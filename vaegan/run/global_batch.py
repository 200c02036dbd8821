"""The number of images of a step over all processes, and this process's part of them."""

from typing import Any

from accelerate import Accelerator

from vaegan.batch import Partition
from vaegan.config import Config
from vaegan.errors import UserError


def choose_partition(
    config: Config, accelerator: Accelerator, checkpoint: dict[str, Any] | None
) -> Partition:
    """This process's part of the global batch.

    A resumed run keeps its global batch on any number of processes. Raises `UserError` where the
    options give another one, where there are fewer images than processes, or where batch norm
    would get one image at a time.
    """
    training, world = config.training, accelerator.num_processes
    asked = training.global_batch_size or training.batch_size * world
    if checkpoint is not None and asked != checkpoint["global_batch"]:
        before = checkpoint["global_batch"]
        raise UserError(
            f"The run to resume had {before} images per step over all processes, and now "
            f"{asked} are asked for: leave --batch-size and --global-batch-size out to keep "
            f"{before}."
        )
    if asked < world:
        raise UserError(
            f"--global-batch-size {asked} is less than one image for each of {world} processes: "
            f"give {world} or more."
        )
    needs_two = config.has_batch_norm() and not (config.compute.sync_batchnorm and world > 1)
    if needs_two and fewest_at_a_time(asked, world, training.accumulate) < 2:
        raise UserError(
            f"A step of {asked} images over {world} process(es) in {training.accumulate} "
            "micro-batch(es) gives batch norm one image at a time, which has no variance: give "
            "two or more (--batch-size, --global-batch-size, --accumulate), --sync-batchnorm on "
            "several GPUs, or --norm group --discriminator-norm group."
        )
    return Partition(asked, accelerator.process_index, world)


def fewest_at_a_time(global_batch: int, processes: int, accumulate: int) -> int:
    """Images of the smallest micro-batch of any process: parts are as even as can be."""
    fewest = global_batch // processes
    sizes = {fewest, -(-global_batch // processes)}
    return min(size // min(accumulate, size) for size in sizes)
