"""Feature extraction for FID: torch-fidelity's Inception on generated images."""

from pathlib import Path

import pytest
import torch

from benchmarks.plan import Case, Plan
from benchmarks.timing import Timer


def cases(plan: Plan) -> list[Case]:
    batch = 64 if plan.on_gpu else 8
    default = [Case("Inception features", "gated-mixture", (32, 1), batch, layout="contiguous")]
    return plan.choose(default)


def test_feature_extraction(timed: Timer, device: torch.device, case: Case, tmp_path: Path) -> None:
    """Inception with random weights: as fast as with trained ones, without a download."""
    reason = "torch-fidelity is not installed: pip install torch-fidelity"
    extractors = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason=reason)

    class Untrained(extractors.FeatureExtractorInceptionV3):  # type: ignore[name-defined]
        def load_state_dict(self, *_: object) -> None:
            """Keep the random weights."""

    file = tmp_path / "no-weights.pth"
    torch.save({}, file)
    extractor = Untrained("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(file))
    extractor = extractor.eval().to(device)
    images = torch.randint(0, 256, (case.batch, 3, *case.image_shape()[2:]), dtype=torch.uint8)
    images = images.to(device)

    def extract() -> None:
        with torch.no_grad():
            [features] = extractor(images)
        assert features.shape == (case.batch, 2048)

    timed(extract, images=case.batch, facts=case.facts(), rounds=5)
