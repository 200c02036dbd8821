"""The checkpoint that a run resumes from, what is left to train, and what is no longer exact."""

import logging
from typing import Any

import torch
from accelerate import Accelerator

from vaegan.config import FACTS, Config, OptimConfig
from vaegan.errors import RunCompleteError, UserError
from vaegan.processes import from_main
from vaegan.run.length import RunLength, total_steps
from vaegan.run.run_folder import RunFolder
from vaegan.run.summary import precision_of

logger = logging.getLogger(__name__)

# Share of the first learning rate below which more steps hardly change the weights.
WORTH_TRAINING_AT = 0.01

# What changes how sums are rounded; accumulation also what batch norm sees at a time.
_ROUNDING = [name for name, facts in FACTS.items() if facts.alters == "rounding"]
_EXACTNESS = ("device", "threads", "torch", *_ROUNDING)


def newest_checkpoint(folder: RunFolder, accelerator: Accelerator) -> dict[str, Any] | None:
    """The newest intact checkpoint, the same on every process; None where there is none.

    Raises `UserError` where all are damaged or missing.
    """

    def read() -> dict[str, Any] | None:
        content = folder.store.read_newest()
        if content is None and folder.inference_file.exists():
            raise UserError(
                f"{folder.checkpoints} holds no checkpoint any more, and beginning again would "
                f"overwrite {folder.inference_file}: put one back, or start anew in another "
                "--output-dir."
            )
        return content

    content: dict[str, Any] | None = from_main(accelerator, read)
    return content


def continued(
    length: RunLength,
    checkpoint: dict[str, Any],
    config: Config,
    folder: RunFolder,
    accelerator: Accelerator,
    images: int,
) -> RunLength:
    """`length` from the step of `checkpoint` on; `images` is how many there are to train on.

    All processes call it. Raises `RunCompleteError` where no step is left, and `UserError` where
    the learning rates have fallen too far for more steps.
    """
    start, seconds = int(checkpoint["step"]), checkpoint.get("seconds", 0.0)
    stop, limit = length.stop, config.training.max_seconds
    # The clock is read at log steps only: after a signal between two, the run ends at the next.
    if limit is not None and start % config.output.log_every == 0 and seconds >= limit:
        stop = start
    ended = start == stop and from_main(accelerator, lambda: folder.inference_step() == start)
    if start > stop or ended:
        trained, more = f"{start} of {stop} steps", "--max-steps or --epochs"
        if limit is not None:
            trained = f"{start} steps in {seconds:,.1f} of {limit:,.1f} s"
            more = "--max-seconds"
        raise RunCompleteError(
            f"The run in {folder.root} is complete ({trained}): raise {more} to train on."
        )
    before = Config.from_dict(checkpoint["config"])
    if limit is None:  # otherwise the number of steps is not known
        planned = total_steps(before, images, length.global_batch)
        _refuse_without_learning_rate(config.optim, before.optim, stop, planned)
    return RunLength(stop, length.global_batch, start, seconds)


def _refuse_without_learning_rate(
    optim: OptimConfig, before: OptimConfig, stop: int, planned: int
) -> None:
    """`UserError` where a run of `planned` steps is made longer than its learning rates' fall."""
    if optim.lr_schedule == "constant" or optim.lr_final_factor >= WORTH_TRAINING_AT:
        return
    end = optim.lr_decay_steps
    if stop > end and stop > planned and end == before.lr_decay_steps:
        raise UserError(
            f"The learning rates of this run have fallen to {optim.lr_final_factor:.2g} times "
            f"their start by step {end:,} (--lr-schedule {optim.lr_schedule}), and it would go "
            f"on to step {stop:,} with these: give --lr-decay-steps {stop} to let "
            "them fall over the longer run, or another number of steps."
        )


def made_by(config: Config, accelerator: Accelerator, images: int) -> dict[str, Any]:
    """Facts that a checkpoint's numbers depend on, beside the settings that may not change."""
    cpu = accelerator.device.type == "cpu"
    values = config.flat()
    return {
        **{name: values[name] for name in _ROUNDING},
        "processes": accelerator.num_processes,
        "images": images,
        "device": accelerator.device.type,
        "threads": torch.get_num_threads() if cpu else None,
        "precision": precision_of(accelerator),
        "torch": str(torch.__version__),
    }


def no_longer_exact(was: dict[str, Any], now: dict[str, Any], *, batch_norm: bool) -> str | None:
    """One line about what differs from the run that wrote the checkpoint; None for nothing."""
    parts = []
    if was["processes"] != now["processes"]:
        norms = (
            "; batch norm takes its statistics over each process's part of the batch, which has "
            "another size, and its running ones start from the mean over the processes"
            if batch_norm
            else ""
        )
        parts.append(
            f"it ran on {was['processes']} process(es) and now on {now['processes']} (images, "
            f"order and noise of each step stay the same, sums are rounded otherwise{norms})"
        )
    if was["images"] != now["images"]:
        parts.append(
            f"it had {was['images']:,} training images and now {now['images']:,}, in another order"
        )
    parts += [
        f"{name.replace('_', ' ')} was {was[name]} and is now {now[name]}"
        for name in _EXACTNESS
        if None not in (was[name], now[name]) and was[name] != now[name]
    ]
    if not parts:
        return None
    return f"Not bit for bit what an uninterrupted run would be: {'; '.join(parts)}."


def log_resumption(
    checkpoint: dict[str, Any] | None, now: dict[str, Any], config: Config, folder: RunFolder
) -> None:
    """Log the step of resumption; warn where it is not exact. `now` is this process's `made_by`."""
    where = "the beginning: it had no checkpoint"
    if checkpoint is not None:
        where = f"step {checkpoint['step']:,}"
    logger.info(f"Resuming {folder.root} at {where}.")
    if checkpoint is not None and "made_by" in checkpoint:
        batch_norm = config.has_batch_norm() and not config.compute.sync_batchnorm
        if line := no_longer_exact(checkpoint["made_by"], now, batch_norm=batch_norm):
            logger.warning(line)
