"""LPIPS: the package's own result, with gradients, and its weights from files."""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.perceptual import narrow_lpips
from vaegan.errors import UserError
from vaegan.networks.lpips_weights import load_lpips


def packages_own() -> nn.Module:
    """`lpips.LPIPS` without memory: torchvision's VGG16 has 120 million weights of a classifier."""
    import lpips

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package gives torchvision an old argument
        network: nn.Module = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)
    return network


@pytest.fixture(scope="module")
def lpips_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's own network with random weights, as its state_dict."""
    torch.manual_seed(3)
    state = {
        name: torch.rand(value.shape) / value.shape[1]
        if name.startswith("lin")
        else torch.randn(value.shape) * (2 / max(value[0].numel(), 1)) ** 0.5
        for name, value in packages_own().state_dict().items()
        if not name.startswith(("scaling", "lins"))  # the package has its own weights twice
    }
    path = tmp_path_factory.mktemp("lpips") / "lpips.pth"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_lpips_is_the_packages_own(lpips_file: Path, channels: int) -> None:
    import lpips

    network: Any = packages_own()
    del network.scaling_layer
    network = network.to_empty(device="cpu").eval()
    network.scaling_layer = lpips.ScalingLayer()
    network.load_state_dict(torch.load(lpips_file), strict=False)
    x, target = (torch.rand(2, channels, 24, 20).requires_grad_() for _ in range(2))
    theirs = network(x, target).flatten()
    ours = load_lpips(str(lpips_file))(x, target)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    wanted = torch.autograd.grad(theirs.sum(), x)[0]
    torch.testing.assert_close(torch.autograd.grad(ours.sum(), x)[0], wanted, rtol=1e-4, atol=1e-6)
    assert wanted.norm() > 0


def test_lpips_of_an_image_without_features_has_a_gradient() -> None:
    module = narrow_lpips()
    for layer in module.features:
        if isinstance(layer, torch.nn.Conv2d):
            assert layer.bias is not None
            torch.nn.init.constant_(layer.bias, -100.0)  # every activation is 0
    x = torch.zeros(1, 3, 16, 16, requires_grad=True)
    module(x, torch.ones(1, 3, 16, 16)).sum().backward()
    assert x.grad is not None
    assert (x.grad == 0).all()


def test_lpips_takes_torchvisions_file_and_the_packages_weights(
    lpips_file: Path, tmp_path: Path
) -> None:
    state = torch.load(lpips_file)
    trunk = {
        f"features.{name.split('.', 2)[2]}": value
        for name, value in state.items()
        if name.startswith("net.")
    }
    torch.save({**trunk, "classifier.0.bias": torch.zeros(3)}, tmp_path / "vgg16.pth")
    module = load_lpips(str(tmp_path / "vgg16.pth"))
    torch.testing.assert_close(
        module.features[0].weight, state["net.slice1.0.weight"], rtol=0, atol=0
    )
    spec = importlib.util.find_spec("lpips")
    assert spec is not None
    assert spec.origin is not None
    own = torch.load(Path(spec.origin).parent / "weights/v0.1/vgg.pth", map_location="cpu")
    wanted = own["lin4.model.1.weight"].flatten()
    torch.testing.assert_close(module.lins[4].data, wanted, rtol=0, atol=0)


def test_a_file_that_is_not_lpips_is_refused(
    lpips_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.pth").write_text("nothing")
    torch.save(torch.zeros(2), tmp_path / "tensor.pth")
    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "other.pth")
    for name, said in (
        ("missing.pth", "There is no file"),
        ("text.pth", "cannot be read as weights"),
        ("tensor.pth", "holds no weights by name"),
        ("other.pth", "does not hold the weights of LPIPS"),
    ):
        with pytest.raises(UserError, match=said):
            load_lpips(str(tmp_path / name))

    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(UserError, match=r"cannot be fetched \(no route\): .*--lpips-file"):
        load_lpips("")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'vaegan\[lpips\]'"):
        load_lpips("")


def test_loading_leaves_the_random_numbers_alone(lpips_file: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_lpips(str(lpips_file))
    assert torch.equal(torch.rand(3), expected)
