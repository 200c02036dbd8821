"""--sync-batchnorm where it cannot apply, and what it changes; its arithmetic needs GPUs."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.tiny import TINY_OPTIONS, tiny_config
from vaegan.commands.train import main
from vaegan.networks import build_networks
from vaegan.networks.base import in_parts


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "--sync-batchnorm works on GPUs, and this run is on the CPU"),
        (["--resume"], "no run to resume"),
    ],
)
def test_it_is_refused_on_a_cpu_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*TINY_OPTIONS, "--sync-batchnorm", "--output-dir", "out", *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("out/config.json").exists()


def test_the_same_weights_fit_and_a_joint_pass_still_sees_each_kind_apart() -> None:
    config = tiny_config()
    plain = build_networks(config.data, config.network).discriminator
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(
        build_networks(config.data, config.network).discriminator
    )
    synced.load_state_dict(plain.state_dict())
    x = torch.rand(4, 1, 16, 16)
    torch.testing.assert_close(synced.eval()(x).logit, plain.eval()(x).logit)

    class Halves(nn.SyncBatchNorm):
        def forward(self, h: torch.Tensor) -> torch.Tensor:
            seen.append(len(h))
            return h

    seen: list[int] = []
    in_parts(Halves(3), torch.rand(4, 3, 2, 2), 2)
    assert seen == [2, 2]
