"""Which settings depend on others: what has to hold of a config for a setting to change the run.

Exempt are sizes and norms of networks that a model does not have, and `data_dir`, which
mnist5k does not read: one set of options then describes all four models, or several data sets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vaegan.config import Config, ModelName


@dataclass(frozen=True)
class Dependence:
    """`settings` change a run where `holds` is true of its config."""

    settings: tuple[str, ...]
    holds: Callable[[Config], bool]
    place: str
    """Where they do not, in words; `{name}` stands for the value of that setting."""
    instead: str = ""
    """What to give for them to have an effect; of another model they are not part of it."""


def _only(*models: ModelName) -> Callable[[Config], bool]:
    return lambda config: config.model in models


_MODEL = "on --model {model}"
DEPENDENCES = (
    Dependence(
        ("gan_loss", "gate", "gate_equilibrium", "gate_margin", "lr_discriminator"),
        _only("vaegan", "gan"),
        _MODEL,
    ),
    Dependence(("discriminator_passes",), _only("vaegan", "gan"), _MODEL),
    Dependence(
        ("gamma", "gamma_mode", "fakes", "fake_reduction", "pixel_weight"),
        _only("vaegan"),
        _MODEL,
    ),
    Dependence(("beta", "likelihood"), _only("vaegan", "vae", "vae-dis"), _MODEL),
    Dependence(("similarity_layer", "similarity_point"), _only("vaegan", "vae-dis"), _MODEL),
    Dependence(
        ("gate_equilibrium", "gate_margin"),
        lambda config: config.objective.gate,
        "on a run without the gate",
        "--gate",
    ),
    Dependence(
        ("fake_reduction",),
        lambda config: config.objective.fakes == "both",
        "with --fakes {fakes}, which are of one kind",
        "--fakes both",
    ),
    Dependence(
        ("adam_betas",),
        lambda config: config.optim.optimizer == "adam",
        "with --optimizer {optimizer}",
        "--optimizer adam",
    ),
    Dependence(
        ("rmsprop_decay",),
        lambda config: config.optim.optimizer == "rmsprop",
        "with --optimizer {optimizer}",
        "--optimizer rmsprop",
    ),
    Dependence(
        ("lr_decay_steps", "lr_final_factor"),
        lambda config: config.optim.lr_schedule != "constant",
        "with --lr-schedule {lr_schedule}",
        "--lr-schedule cosine or power",
    ),
    Dependence(
        ("lr_power",),
        lambda config: config.optim.lr_schedule == "power",
        "with --lr-schedule {lr_schedule}",
        "--lr-schedule power",
    ),
    Dependence(
        ("batch_norm_momentum", "sync_batchnorm"),
        Config.has_batch_norm,
        "where no network that is trained has batch norm",
        "--norm batch",
    ),
    Dependence(
        ("background", "bad_images", "check_images"),
        lambda config: config.data.dataset == "folder",
        "on --dataset {dataset}",
        "--dataset folder",
    ),
    # Whether auto comes to stream depends on the memory that is free: the run says it.
    Dependence(
        ("workers",),
        lambda config: config.data.placement in ("auto", "stream"),
        "with --placement {placement}",
        "--placement stream",
    ),
    Dependence(
        ("project",),
        lambda config: config.output.tracker == "wandb",
        "with --tracker {tracker}",
        "--tracker wandb",
    ),
    Dependence(
        ("eval_samples", "eval_extractor"),
        lambda config: bool(config.evaluation.eval_every),
        "on a run that is not evaluated",
        "--eval-every",
    ),
)


def without_effect(config: Config, given: Mapping[str, str]) -> str | None:
    """Which of the settings `given` change nothing in a run of `config`: one sentence, or None.

    `given` has the option of each setting, as it was written. Where several conditions do not
    hold, the sentence is about the first.
    """
    idle: dict[tuple[str, str], list[str]] = {}
    for dependence in DEPENDENCES:
        if not dependence.holds(config):
            options = [given[name] for name in dependence.settings if name in given]
            idle.setdefault((dependence.place, dependence.instead), []).extend(options)
    for (place, instead), options in idle.items():
        if options:
            have, them = ("have", "them") if len(options) > 1 else ("has", "it")
            return (
                f"{', '.join(options)} {have} no effect {place.format(**config.flat())}: leave "
                f"{them} out{f', or give {instead}' if instead else ''}."
            )
    return None
