"""The settings of a step's computation."""

from dataclasses import dataclass
from typing import Literal

from vaegan.config.checks import check_settings
from vaegan.config.conditions import IN_KL_FAMILY, TRAINED_BATCH_NORM
from vaegan.config.facts import setting
from vaegan.config.names import ADVERSARIAL, Precision


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How a step is computed: what changes its speed and its rounding."""

    precision: Precision = setting(
        "auto",
        "Number format of convolutions and matrix products; weights, losses and statistics "
        "stay float32. auto takes the bf16 or fp16 that accelerate was told, or else bf16 "
        "where the hardware is faster at it than at fp32 (GPUs that have it; CPUs with AMX or "
        "AVX512-BF16 where a short measurement finds that) and fp32 elsewhere. accelerate "
        "launch passes on --mixed_precision no where it is "
        "told nothing, too: fp32 is asked for here.",
        alters="rounding",
    )
    compile: Literal["none", "graph", "inductor"] = setting(
        "none",
        "graph records the whole step as one CUDA graph, so that small batches do not wait "
        "for the host; inductor compiles the three networks' update as one program (minutes "
        "at the start), and on a GPU records that as a graph too. Several processes then "
        "average all gradients at once, after the update.",
        alters="rounding",
    )
    discriminator_passes: Literal["separate", "joint"] = setting(
        "separate",
        "Judge real, reconstructed and sampled images one kind after the other, or in one "
        "pass with the same result (norms still see each kind apart): a sixth more "
        "arithmetic, in fewer and larger pieces.",
        models=ADVERSARIAL,
        alters="rounding",
    )
    sync_batchnorm: bool = setting(
        False,
        "Take batch norm's statistics over the images of all processes, on GPUs, so that many "
        "small parts of a batch are normalised as one.",
        needs=TRAINED_BATCH_NORM,
        role="setup",
    )
    gradient_checkpointing: bool = setting(
        False,
        "Keep only the inputs of the blocks of encoder and decoder for the backward pass, and "
        "compute the rest again there, with the same gradients: less memory, in more time.",
        needs=IN_KL_FAMILY,
        alters="rounding",
    )
    profile: bool = setting(
        False,
        "Write a torch profiler trace of a few early steps into the run folder, and print "
        "where the time went.",
        alters="nothing",
    )

    def __post_init__(self) -> None:
        check_settings(self)
