"""The tree of all settings: checked, compared, saved and read back.

It is frozen and holds plain values only, so that it can be printed, stored in `config.json` and in
every checkpoint, and compared setting by setting when a run is resumed.
"""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vaegan.config.checks import check
from vaegan.config.compute import ComputeConfig
from vaegan.config.conditions import trains_batch_norm
from vaegan.config.data import DataConfig
from vaegan.config.evaluation import EvaluationConfig
from vaegan.config.facts import Facts, setting
from vaegan.config.names import ADVERSARIAL, DEFAULT_RECIPE, ModelName, RecipeName
from vaegan.config.network import NetworkConfig
from vaegan.config.objective import LEAST_LPIPS_SIZE, LPIPS_CHANNELS, ObjectiveConfig
from vaegan.config.old_files import (
    with_todays_groups,
    with_todays_values,
    without_removed_settings,
)
from vaegan.config.optim import OptimConfig
from vaegan.config.output import OutputConfig
from vaegan.config.training import TrainingConfig
from vaegan.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that makes a run."""

    model: ModelName = setting(
        "vaegan",
        "Which networks are trained on which losses: the VAE/GAN, or a baseline on the same "
        "networks, vae (likelihood of pixels), vae-dis (VAE with the learned similarity of a "
        "GAN's discriminator, named by --similarity-from) or gan.",
        role="identity",
    )
    recipe: RecipeName = setting(
        DEFAULT_RECIPE,
        "A named set of values for the options below, which each of them overrides: "
        "gated-mixture is this project's, mixture-prior and normal-prior its earlier ones, "
        "larsen2016 the paper's author's, seed the first PyTorch version's.",
        role="setup",
    )
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        if (self.model == "vae-dis") != bool(self.objective.similarity_from):
            raise UserError(
                f"--model {self.model} does not go with --similarity-from "
                f"{self.objective.similarity_from or '(nothing)'}: vae-dis needs the ckpt.pt of a "
                "trained gan there, and no other model takes one."
            )
        layers, weights = self.network.similarity_layer, self.objective.similarity_weights
        check(
            len(weights) in (1, len(layers)),
            "similarity_weights",
            " ".join(map(str, weights)),
            f"one weight, or one for each of the {len(layers)} layers of --similarity-layer",
        )
        self._check_reconstruction()
        seconds, optim = self.training.max_seconds, self.optim
        if seconds is not None and optim.lr_schedule != "constant" and not optim.lr_decay_steps:
            raise UserError(
                f"--lr-schedule {optim.lr_schedule} falls over the whole run, and how many steps "
                f"come into --max-seconds {seconds} is not known before: give --lr-decay-steps, or "
                "--lr-schedule constant."
            )
        if (
            self.model in ADVERSARIAL
            and self.objective.is_penalised
            and self.network.discriminator_norm == "batch"
        ):
            raise UserError(
                f"--r1 {self.objective.r1} and --r2 {self.objective.r2} penalise the gradient of "
                "each image's own logit, and with --discriminator-norm batch a logit depends on "
                "the other images of its batch: give --discriminator-norm group or none."
            )
        if self.data.crop_sizes and self.compute.compile != "none":
            raise UserError(
                f"--compile {self.compute.compile} makes one program for images of one size, and "
                "--crop-sizes gives several: give --compile none, or leave out --crop-sizes."
            )
        if self.network.family == "kl":
            check_spatial(self.data, self.network)
            return
        size = self.data.image_size
        for name in ("encoder_widths", "decoder_widths", "discriminator_widths"):
            widths = getattr(self.network, name)
            stages = len(widths) - (name == "decoder_widths")
            check(
                size % 2**stages == 0,
                name,
                " ".join(map(str, widths)),
                f"of at most {_halvings(size)} stride-2 stages for images of {size} pixels",
            )

    def _check_reconstruction(self) -> None:
        """`UserError` where nothing is left to reconstruct by, or LPIPS cannot see the images."""
        objective, data = self.objective, self.data
        compares = self.model in ("vaegan", "vae-dis")
        if compares and not (objective.has_similarity or self._has_pixels):
            instead = ", or --pixel-weight above 0" if self.model == "vaegan" else ""
            raise UserError(
                "--similarity-weights 0 leaves nothing by which images are reconstructed: give a "
                f"weight above 0{instead}."
            )
        if self.has_lpips:
            size = min(data.image_size, *data.training_sizes)
            if data.channels not in LPIPS_CHANNELS or size < LEAST_LPIPS_SIZE:
                raise UserError(
                    f"--lpips-weight {objective.lpips_weight} needs images of 1 or 3 channels and "
                    f"at least {LEAST_LPIPS_SIZE} pixels a side, and these have {data.channels} "
                    f"channels and {size} pixels: leave it out."
                )

    def replace(self, **settings: Any) -> "Config":
        """A copy with some settings changed, named as on the command line (`latent_size=64`)."""
        groups: dict[str, dict[str, Any]] = {}
        own: dict[str, Any] = {}
        for name, value in settings.items():
            group = GROUP_OF.get(name)
            if group is None and name not in SETTINGS:
                raise KeyError(name)
            (own if group is None else groups.setdefault(group, {}))[name] = value
        for group, changes in groups.items():
            own[group] = dataclasses.replace(getattr(self, group), **changes)
        return dataclasses.replace(self, **own)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one image's latents: (Z,) for vectors, (c, S/f, S/f) for maps."""
        return self._latent_shape_at(self.data.image_size)

    @property
    def training_latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The same for each of the sizes that batches may have in training."""
        return tuple(map(self._latent_shape_at, self.data.training_sizes))

    def _latent_shape_at(self, size: int) -> tuple[int, ...]:
        network = self.network
        if network.family == "kl":
            side = size // network.downsampling
            return (network.latent_channels, side, side)
        return (network.latent_size,)

    def has_batch_norm(self) -> bool:
        """Whether a network that is trained normalises by the statistics of its batch."""
        network = self.network
        return trains_batch_norm(
            self.model, network.family, network.norm, network.discriminator_norm
        )

    @property
    def has_lpips(self) -> bool:
        """Whether the likelihood of pixels has LPIPS."""
        return self._has_pixels and self.objective.lpips_weight > 0

    @property
    def _has_pixels(self) -> bool:
        return self.model == "vae" or (self.model == "vaegan" and self.objective.pixel_weight > 0)

    @property
    def images_per_step(self) -> int:
        """Over all processes where that was asked for or the run has begun, else on each."""
        return self.training.global_batch_size or self.training.batch_size

    def settled(self, *, global_batch: int, steps: int) -> "Config":
        """What a run begins with: it means the same later on other processes, or for longer."""
        settled = self.replace(global_batch_size=global_batch)
        if self.optim.lr_schedule != "constant" and not self.optim.lr_decay_steps:
            settled = settled.replace(lr_decay_steps=steps)
        return settled

    def flat(self) -> dict[str, Any]:
        """Every setting under its own name, without the groups."""
        return {
            name: getattr(getattr(self, GROUP_OF[name]) if name in GROUP_OF else self, name)
            for name in SETTINGS
        }

    def changes(self, now: "Config", *, but: Collection[str]) -> list[str]:
        """In words, each setting that `now` has otherwise, those named in `but` left out."""
        before, after = self.flat(), now.flat()
        return [
            f"{name} was {before[name]} and is now {after[name]}"
            for name in before
            if before[name] != after[name] and name not in but
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and text: what JSON and `torch.save` keep."""
        return _plain(dataclasses.asdict(self))

    @staticmethod
    def from_dict(values: Mapping[str, Any], origin: str = "the config") -> "Config":
        """The way back; every setting may be left out for its default.

        Raises `UserError` naming `origin` and the first setting that is unknown or not allowed.
        """
        values = with_todays_groups(values, GROUP_OF)
        values = with_todays_values(without_removed_settings(values, origin))
        if isinstance(values.get("run"), Mapping):
            left = next(iter(values["run"]))
            raise UserError(f"{origin} has the unknown setting run.{left}: remove it.")
        unknown = [name for name in values if name not in _TOP] + [
            f"{group}.{name}"
            for group in GROUPS
            if isinstance(values.get(group), Mapping)
            for name in values[group]
            if name not in _FIELDS[group]
        ]
        if unknown:
            raise UserError(f"{origin} has the unknown setting {unknown[0]}: remove it.")
        try:
            return _ADAPTER.validate_python(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))[:200] or "it"
            cause = first.get("ctx", {}).get("error")
            what = str(cause) if isinstance(cause, UserError) else f"{where}: {first['msg']}"
            raise UserError(f"{origin} cannot be used: {what}") from None


def check_spatial(data: DataConfig, network: NetworkConfig) -> None:
    """`UserError` for settings that networks with maps as latents cannot have."""
    factor = network.downsampling
    if network.conditional:
        raise UserError(
            "--conditional does not go with --family kl, whose networks are not given classes: "
            "leave it out, or give --family paper or residual."
        )
    divided = (
        f"of {factor}, by which the {len(network.block_out_channels)} --block-out-channels divide "
        "the side"
    )
    check(data.image_size % factor == 0, "image_size", data.image_size, f"a multiple {divided}")
    check(
        all(size % factor == 0 for size in data.crop_sizes),
        "crop_sizes",
        " ".join(map(str, data.crop_sizes)),
        f"multiples {divided}",
    )
    size = min(data.image_size, *data.training_sizes)
    innermost = size // 2 ** len(network.discriminator_widths)
    check(
        innermost >= 3,  # two convolutions of 4x4 pixels and stride 1 leave one patch of it
        "discriminator_widths",
        " ".join(map(str, network.discriminator_widths)),
        f"of fewer channel counts for images of {size} pixels, so that a patch is left",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _halvings(size: int) -> int:
    return (size & -size).bit_length() - 1


_ADAPTER = TypeAdapter(Config)
_TOP = {each.name: each for each in dataclasses.fields(Config)}
GROUPS = tuple(name for name, each in _TOP.items() if "facts" not in each.metadata)
_FIELDS = {
    group: {each.name: each for each in dataclasses.fields(getattr(Config(), group))}
    for group in GROUPS
}

# Which group each setting is in; the facts of all settings; their names, in the same order.
GROUP_OF = {name: group for group in GROUPS for name in _FIELDS[group]}
FACTS: Mapping[str, Facts] = {
    name: each.metadata["facts"]
    for fields in (_TOP, *_FIELDS.values())
    for name, each in fields.items()
    if "facts" in each.metadata
}
SETTINGS = tuple(FACTS)
