"""What a checkpoint holds, in plain values: its model, its training, the records beside it."""

import json
from pathlib import Path
from typing import Any

import torch

from vaegan.config import FACTS, Config
from vaegan.errors import UserError
from vaegan.files.checkpoint import read_inference_file
from vaegan.files.regular_files import read_regular
from vaegan.models import model_networks
from vaegan.networks import count_parameters
from vaegan.recipes import recipe_config
from vaegan.run.run_folder import MOST_CONFIG_BYTES, RunFolder

# Not chosen for their effect on the model: where a run lies, and what a run fixes at its start.
_OF_THE_RUN = {"output_dir", "seed", "global_batch_size", "lr_decay_steps", "validation_images"}


def describe_checkpoint(path: Path) -> dict[str, Any]:
    """The facts of a run's `ckpt.pt` or `best.pt`; `UserError` where it cannot be read.

    checkpoint, step, images_seen, seconds (None for old files); model, recipe, dataset,
    image_size, channels, latent_shape, seed; parameters by network; changed: the settings that are
    not those of the recipe, each with its value and the recipe's; environment: that of the run's
    `config.json` beside it, or None; evaluation: the record by which the `best.pt` was chosen (this
    file or the one beside it), with its step, or None.
    """
    content = read_inference_file(path)
    config = Config.from_dict(content["config"], f"the config in {path}")
    with torch.device("meta"):  # shapes only
        networks = model_networks(config)
    return {
        "checkpoint": str(path),
        "step": content["step"],
        "images_seen": content["images_seen"],
        "seconds": content.get("seconds"),
        "model": config.model,
        "recipe": config.recipe,
        "dataset": config.data.dataset,
        "image_size": config.data.image_size,
        "channels": config.data.channels,
        "latent_shape": list(config.latent_shape),
        "seed": config.training.seed,
        "parameters": {n: count_parameters(m) for n, m in networks.by_name().items()},
        "changed": changed_settings(config),
        "environment": run_environment(RunFolder(path.parent), config),
        "evaluation": _best_evaluation(path, content),
    }


def changed_settings(config: Config) -> dict[str, dict[str, Any]]:
    """Each setting that is not its recipe's, by name: `value` and `recipe`."""
    standard = recipe_config(
        config.recipe,
        config.data.dataset,
        config.model,
        image_size=config.data.image_size,
        similarity_from=config.objective.similarity_from,
    ).flat()
    return {
        name: {"value": value, "recipe": standard[name]}
        for name, value in config.flat().items()
        if value != standard[name] and name not in _OF_THE_RUN
    }


def run_environment(folder: RunFolder, config: Config) -> dict[str, Any] | None:
    """What the run in `folder` recorded of its machine, if that run is of this config."""
    try:
        values = json.loads(read_regular(folder.config_file, MOST_CONFIG_BYTES))
        environment = values.pop("environment")
        stored = Config.from_dict(values)
    except (OSError, ValueError, RecursionError, KeyError, AttributeError, UserError):
        return None
    may_change = {name for name, facts in FACTS.items() if facts.may_change}
    same_run = isinstance(environment, dict) and not stored.changes(config, but=may_change)
    return environment if same_run else None


def _best_evaluation(path: Path, content: dict[str, Any]) -> dict[str, Any] | None:
    """The record in this file or in the `best.pt` beside it, with the step that it is of."""
    if "evaluation" not in content:
        try:
            content = read_inference_file(RunFolder(path.parent).best_file)
        except UserError:
            return None
    record = content.get("evaluation")
    return {"step": content["step"], **record} if isinstance(record, dict) else None
