"""The settings of the evaluations while a run trains."""

from dataclasses import dataclass
from typing import Literal

from vaegan.config.checks import check_settings
from vaegan.config.facts import Condition, setting
from vaegan.config.names import MOST_IMAGES

EVALUATED = Condition(
    lambda config: bool(config["eval_every"]), "on a run that is not evaluated", "--eval-every"
)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How samples are measured while a run trains."""

    eval_every: int | Literal["auto"] = setting(
        0,
        "Steps between two evaluations of the samples, the last step always having one; 0 for "
        "none; auto for as many as take at most 5 % of the time, looked at whenever metrics "
        "are logged (of a short run the last step's alone takes more). The Frechet distance "
        "(FID) and KID against held-out images are logged, and the best checkpoint by the "
        "former is kept as best.pt.",
        at_least=0,
        allowed="auto, or 0 or more",
        unit="steps",
        alters="nothing",
    )
    eval_samples: int = setting(
        # Fewer than four have no third neighbour: vaegan.metrics.protocol.FEWEST.
        2000,
        "Samples of each evaluation, and at most as many held-out images.",
        at_least=4,
        at_most=MOST_IMAGES,
        allowed=f"4 or more and at most {MOST_IMAGES:,}",
        unit="images",
        needs=EVALUATED,
        alters="nothing",
    )
    eval_extractor: str = setting(
        "inception",
        "The network whose features are compared, as --extractor of evaluation/fid.py: "
        "inception, or efficientnet-lite0, which needs no download and whose distance is not "
        "called FID.",
        needs=EVALUATED,
        alters="nothing",
    )

    def __post_init__(self) -> None:
        check_settings(self)
