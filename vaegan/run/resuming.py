"""What a run goes on from, and in what it then differs from a run that was never stopped."""

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from vaegan.config import FACTS, Config
from vaegan.errors import UserError
from vaegan.run.run_folder import RunFolder

# What changes how sums are rounded; accumulation also what batch norm sees at a time.
_ROUNDING = [name for name, facts in FACTS.items() if facts.alters == "rounding"]
_EXACTNESS = ("device", "threads", "torch", *_ROUNDING)


def from_main(accelerator: Accelerator, ask: Callable[[], Any]) -> Any:
    """What `ask` says on the main process, on all of them; its `UserError` too."""
    answer: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            answer = [ask()]
        except UserError as error:
            answer = [error]
    broadcast_object_list(answer)
    if isinstance(answer[0], UserError):
        raise answer[0]
    return answer[0]


def newest_checkpoint(
    folder: RunFolder, accelerator: Accelerator, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, the same one on every process; None for none.

    Raises `UserError` where there are only damaged ones, or where they are gone.
    """

    def read() -> dict[str, Any] | None:
        content = folder.store.read_newest(say)
        if content is None and folder.inference_file.exists():
            raise UserError(
                f"{folder.checkpoints} holds no checkpoint any more, and beginning again would "
                f"overwrite {folder.inference_file}: put one back, or start anew in another "
                "--output-dir."
            )
        return content

    content: dict[str, Any] | None = from_main(accelerator, read)
    return content


def made_by(config: Config, accelerator: Accelerator, images: int) -> dict[str, Any]:
    """What a checkpoint's numbers depend on, beside the settings that may not change."""
    cpu = accelerator.device.type == "cpu"
    values = config.flat()
    return {
        **{name: values[name] for name in _ROUNDING},
        "processes": accelerator.num_processes,
        "images": images,
        "device": accelerator.device.type,
        "threads": torch.get_num_threads() if cpu else None,
        "precision": str(accelerator.mixed_precision).replace("no", "fp32"),
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
