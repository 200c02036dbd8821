"""Every fast way to compute a step gives the step's numbers: precision, passes, compilation."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tests.support.accelerators import forget_accelerators
from tests.support.perceptual import AUTOENCODER
from tests.support.residual import start_branches
from tests.support.tiny import tiny_config
from tests.test_update import reference_gradients
from vaegan.batch import Batch, Noise, Partition
from vaegan.config import Config, Precision
from vaegan.data import BatchOrder, Loader, load_source
from vaegan.models import model_networks
from vaegan.networks import Networks, build_networks
from vaegan.processes import build_accelerator
from vaegan.randomness import BatchNoise
from vaegan.recipes import recipe_config
from vaegan.step.compiled import CompiledUpdate
from vaegan.step.learner import Learner
from vaegan.updates.vaegan import VAEGANUpdate

CPU = torch.device("cpu")
BATCH = 32


@pytest.fixture
def precision_of_its_own() -> Iterator[None]:
    """accelerate keeps one precision per process; forget it before and after."""

    forget_accelerators()
    yield
    forget_accelerators()


def digits(config: Config, steps: int) -> list[Batch]:
    """The first batches of a run on real digits, with their noise."""
    source = load_source(config.data)
    order = BatchOrder(len(source), Partition(BATCH), seed=0)
    noise = BatchNoise(
        Partition(BATCH),
        seed=0,
        latent_shapes=config.training_latent_shapes,
        device=CPU,
        components=config.network.learns_prior,
    )
    return list(Loader(source, order, noise, config.data, CPU).steps(0, steps))


def smooth(module: nn.Module) -> None:
    """Put SiLU in place of leaky ReLU: at its kink the last bit decides on a slope of 0.2 or 1,
    and one unit on the other side of it is an error of 1e-3 that says nothing of the arithmetic.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.LeakyReLU):
            setattr(module, name, nn.SiLU())
        smooth(child)


def gradient_of(module: nn.Module) -> Tensor:
    """A network's whole gradient, flat."""
    gradients = [p.grad for p in module.parameters()]
    return torch.cat([g.flatten() for g in gradients if g is not None])


def gradient_errors(found: Networks, config: Config, batch: Batch) -> dict[str, float]:
    """|found - reference| / |reference| of each network's whole gradient, in float64."""
    batch = batch.double()
    torch.set_default_dtype(torch.float64)
    try:
        exact = model_networks(config)
        for name, module in exact.by_name().items():
            module.load_state_dict(found.by_name()[name].state_dict())
            smooth(module.double())
        expected = reference_gradients(
            exact, config, batch.images, batch.noise, config.objective.gamma
        )
    finally:
        torch.set_default_dtype(torch.float32)
    errors = {}
    for name, module in found.by_name().items():
        gradient = gradient_of(module).double()
        reference = torch.cat([t.flatten() for t in expected[name]])
        errors[name] = float((gradient - reference).norm() / reference.norm())
    return errors


NARROW: dict[str, Any] = {
    "image_size": 32,
    "channels": 1,
    "encoder_widths": (8, 16, 16),
    "decoder_widths": (16, 16, 16, 8),
    "discriminator_widths": (8, 16, 16),
}
RESIDUAL: dict[str, Any] = {"family": "residual"}
FIXED: dict[str, Any] = {"gamma_mode": "fixed", "gamma": 0.3}
PENALTIES: dict[str, Any] = {
    "r1": 1.0,
    "r2": 1.0,
    "penalty_every": 2,
    "discriminator_norm": "group",
}
# What bfloat16's 8 bits of mantissa leave of a gradient: measured 0.016 to 0.038.
BF16_TOLERANCE = 0.06


@pytest.mark.parametrize("recipe", ["gated-mixture", "seed"])
@pytest.mark.parametrize("family", ["paper", "residual"])
@pytest.mark.parametrize(
    ("precision", "passes", "tolerance"),
    [
        ("fp32", "separate", 1e-4),
        ("fp32", "joint", 1e-4),
        ("bf16", "separate", BF16_TOLERANCE),
        ("bf16", "joint", BF16_TOLERANCE),
    ],
)
def test_gradients_equal_the_float64_reference(
    precision_of_its_own: None,
    recipe: Any,
    family: str,
    precision: Any,
    passes: str,
    tolerance: float,
) -> None:
    config = recipe_config(recipe, **NARROW, **FIXED, discriminator_passes=passes, family=family)
    learner = Learner(config, build_accelerator(precision, cpu=True))
    (batch,) = digits(config, 1)
    for module in learner.bare.by_name().values():
        smooth(module)
        start_branches(module)
    learner.update(batch)  # the wrapped networks, in this precision
    errors = gradient_errors(learner.bare, config, batch)
    assert max(errors.values()) < tolerance, errors
    if precision == "bf16":
        assert min(errors.values()) > 1e-4, "nothing was computed in bf16"


def test_a_bf16_runs_losses_follow_those_of_fp32(precision_of_its_own: None) -> None:
    config = tiny_config()
    means = {}
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:
        forget_accelerators()
        learner = Learner(config, build_accelerator(precision, cpu=True))
        rows = [
            {k: float(v) for k, v in learner.step(batch, step).items()}
            for step, batch in enumerate(digits(config, 60))
        ]
        means[precision] = {k: sum(r[k] for r in rows[-20:]) / 20 for k in rows[0]}
    for name in ("loss/prior", "loss/similarity", "loss/gan", "loss/pixel_mse"):
        assert means["bf16"][name] == pytest.approx(means["fp32"][name], rel=0.1), name


@pytest.mark.parametrize(
    "kind", [{"discriminator_norm": "batch"}, {"discriminator_norm": "group"}, RESIDUAL]
)
@pytest.mark.parametrize("fakes", ["both", "samples", "reconstructions"])
def test_one_joint_discriminator_pass_is_the_separate_ones(
    float64: None, kind: dict[str, Any], fakes: str
) -> None:
    """Gradients, losses and batch norm's running statistics."""
    config = tiny_config(fakes=fakes, **kind)
    torch.manual_seed(0)
    state = build_networks(config.data, config.network)
    start_branches(state.discriminator)
    x, z = torch.rand(6, 1, 16, 16) * 2 - 1, config.network.latent_size
    noise = Noise(torch.randn(6, z), torch.randn(6, z))
    results = []
    for joint in (False, True):
        networks = build_networks(config.data, config.network)
        for name, module in networks.by_name().items():
            module.load_state_dict(state.by_name()[name].state_dict())
        metrics = VAEGANUpdate(networks, config.objective, joint=joint)(Batch(x, noise))
        modules = networks.by_name().values()
        gradients = [p.grad for m in modules for p in m.parameters() if p.grad is not None]
        results.append([*gradients, *(b for m in modules for b in m.buffers()), *metrics.values()])
    for separate, joint_ in zip(*results, strict=True):
        torch.testing.assert_close(joint_, separate, rtol=1e-10, atol=1e-12)


def test_the_compiled_update_is_the_eager_one() -> None:
    """Same gradients, losses, running statistics and balance, over two batches of digits."""
    config = tiny_config(encoder_widths=(8,), decoder_widths=(8, 4), discriminator_widths=(8,))
    compiled, eager = (
        Learner(c, Accelerator(cpu=True)) for c in (config.replace(compile="inductor"), config)
    )
    assert isinstance(compiled.gradients, CompiledUpdate)
    for learner in (compiled, eager):
        for module in learner.bare.by_name().values():
            smooth(module)
    for batch in digits(config, 2):
        results = []
        for learner in (compiled, eager):
            learner.optimizer.zero_grad()
            metrics = learner.gradients(batch)
            results.append((metrics, learner.bare.by_name()))
        (found, networks), (expected, references) = results
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)
        for name, module in references.items():
            reference = gradient_of(module)
            assert (gradient_of(networks[name]) - reference).norm() < 1e-4 * reference.norm(), name
            for key, buffer in module.named_buffers():
                torch.testing.assert_close(networks[name].get_buffer(key), buffer, msg=key)


class TestLossScale:
    """fp16's loss scale, with torch's own scaler on the CPU: exact powers of two in float64."""

    @pytest.fixture
    def scaled(self, float64: None, precision_of_its_own: None) -> Accelerator:
        accelerator = Accelerator(cpu=True)
        accelerator.state._mixed_precision = "fp16"
        accelerator.native_amp = False  # no autocast: float64 throughout
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
        # What unscale_gradients asks for, with autocast left out.
        accelerator.unscale_gradients = lambda optimizer: (
            accelerator.scaler and accelerator.scaler.unscale_(optimizer.optimizer)
        )
        return accelerator

    @pytest.mark.parametrize("losses", [{}, PENALTIES, AUTOENCODER])
    @pytest.mark.parametrize("gate", [False, True])
    def test_scaled_steps_are_the_plain_ones(
        self, scaled: Accelerator, gate: bool, losses: dict[str, Any]
    ) -> None:
        """Gradient penalties have squares of gradients, and the last layer's weight adds a number
        to a norm: no scale may be in either."""
        config = tiny_config(gate=gate, gate_margin=0.005, clip_grad_norm=0.5, **losses)
        learner = Learner(config, scaled)
        batches = [batch.double() for batch in digits(config, 4)]
        metrics = [learner.step(batch, step) for step, batch in enumerate(batches)]
        assert scaled.scaler.get_scale() == 2.0**12
        scaled.scaler = None
        plain = Learner(config, scaled)
        for step, batch in enumerate(batches):
            expected = plain.step(batch, step)
            for name in expected:
                torch.testing.assert_close(metrics[step][name], expected[name], msg=name)
        for one, other in zip(
            learner.bare.by_name().values(), plain.bare.by_name().values(), strict=True
        ):
            for a, b in zip(one.parameters(), other.parameters(), strict=True):
                torch.testing.assert_close(a, b)

    @pytest.mark.parametrize("gate", [False, True])
    @pytest.mark.parametrize("network", ["encoder", "decoder", "discriminator"])
    def test_an_overflow_in_one_network_skips_all_three_and_halves_the_scale_once(
        self, scaled: Accelerator, network: str, gate: bool
    ) -> None:
        config = tiny_config(gate=gate, gate_margin=10.0)
        learner = Learner(config, scaled)
        first, second = (batch.double() for batch in digits(config, 2))
        learner.step(first, 0)
        before = {k: v.clone() for k, v in _weights(learner).items()}
        broken = next(learner.bare.by_name()[network].parameters())
        handle = broken.register_hook(lambda gradient: gradient * float("inf"))
        learner.step(second, 1)
        handle.remove()
        assert all(torch.equal(before[k], v) for k, v in _weights(learner).items())
        assert scaled.scaler.get_scale() == 2.0**11
        learner.step(second, 2)
        moved = {
            k.split(".")[0] for k, v in _weights(learner).items() if not torch.equal(before[k], v)
        }
        assert moved == {"encoder", "decoder", "discriminator"}


def _weights(learner: Learner) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": parameter
        for name, module in learner.bare.by_name().items()
        for key, parameter in module.named_parameters()
    }


def test_the_steps_before_a_graph_is_recorded_share_one_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stream's freed memory is not given to another: three would hold a step's three times."""
    from contextlib import nullcontext
    from unittest.mock import MagicMock

    from vaegan.step.graphs import GraphedStep

    streams = MagicMock()
    monkeypatch.setattr(torch.cuda, "Stream", streams)
    monkeypatch.setattr(torch.cuda, "current_stream", MagicMock())
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    step = GraphedStep(lambda batch: {"loss": batch.images.sum()})
    for _ in range(GraphedStep.EAGER_STEPS):
        step(Batch(torch.ones(2), Noise(torch.ones(2, 1), torch.ones(2, 1))))
    assert streams.call_count == 1
