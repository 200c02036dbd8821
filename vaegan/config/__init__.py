"""Every setting of a run: typed, with its facts, checked, saved and compared.

Names are unique across the groups: on the command line `network.latent_size` is
`--latent-size`. Images are float32 NCHW in [-1, 1]; a *step* is one update of all networks.
"""

from vaegan.config.compute import ComputeConfig
from vaegan.config.data import DataConfig
from vaegan.config.evaluation import EvaluationConfig
from vaegan.config.facts import Condition, Facts
from vaegan.config.names import (
    DEFAULT_RECIPE,
    MOST_IMAGES,
    MOST_STEPS,
    DatasetName,
    Family,
    ModelName,
    Norm,
    Precision,
    RecipeName,
    option,
)
from vaegan.config.network import NetworkConfig
from vaegan.config.objective import ObjectiveConfig
from vaegan.config.optim import OptimConfig
from vaegan.config.output import OutputConfig, checkpoint_minutes
from vaegan.config.training import TrainingConfig
from vaegan.config.tree import FACTS, GROUP_OF, GROUPS, SETTINGS, Config

__all__ = [
    "DEFAULT_RECIPE",
    "FACTS",
    "GROUPS",
    "GROUP_OF",
    "MOST_IMAGES",
    "MOST_STEPS",
    "SETTINGS",
    "ComputeConfig",
    "Condition",
    "Config",
    "DataConfig",
    "DatasetName",
    "EvaluationConfig",
    "Facts",
    "Family",
    "ModelName",
    "NetworkConfig",
    "Norm",
    "ObjectiveConfig",
    "OptimConfig",
    "OutputConfig",
    "Precision",
    "RecipeName",
    "TrainingConfig",
    "checkpoint_minutes",
    "option",
]
