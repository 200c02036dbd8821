"""Loss terms against torch's own distributions and closed forms."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vaegan.losses import (
    at_variance,
    fake_cost,
    hinge_fake_cost,
    hinge_real_cost,
    optimal_variance,
    prior_loss,
    real_cost,
    relativistic_cost,
    similarity_loss,
)


def test_prior_loss_is_torchs_kl_summed_over_latents(float64: None) -> None:
    mu, logvar = torch.randn(7, 5), torch.randn(7, 5)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(prior_loss(mu, logvar), expected)


def test_prior_loss_of_the_prior_is_zero() -> None:
    assert prior_loss(torch.zeros(3, 4), torch.zeros(3, 4)) == 0


def test_similarity_is_a_gaussian_log_likelihood_summed_over_features(float64: None) -> None:
    f_rec, f_real = torch.randn(6, 11), torch.randn(6, 11)
    nll = -Normal(f_rec, 1.0).log_prob(f_real).sum(1).mean()
    expected = nll - 11 / 2 * math.log(2 * math.pi)  # the constant is left out
    torch.testing.assert_close(similarity_loss(f_rec, f_real), expected)


@pytest.mark.parametrize("variance", [0.3, 2.0])
def test_similarity_has_the_variance_that_it_is_given(float64: None, variance: float) -> None:
    f_rec, f_real = torch.randn(6, 11), torch.randn(6, 11)
    nll = -Normal(f_rec, variance**0.5).log_prob(f_real).sum(1).mean()
    expected = nll - 11 / 2 * math.log(2 * math.pi)
    torch.testing.assert_close(at_variance(similarity_loss(f_rec, f_real), 11, variance), expected)


def test_optimal_variance_is_the_best_of_all_variances(float64: None) -> None:
    f_rec, f_real = torch.randn(6, 11), torch.randn(6, 11)
    unit = similarity_loss(f_rec, f_real)
    best = at_variance(unit, 11, optimal_variance(unit, 11))
    others = [at_variance(unit, 11, v) for v in torch.linspace(0.2, 9, 5000)]
    assert best <= min(others)
    assert min(others) - best < 1e-4


def test_optimal_variance_does_not_see_the_features_scale(float64: None) -> None:
    f_rec, f_real = torch.randn(6, 11, requires_grad=True), torch.randn(6, 11)

    def gradient(scale: float) -> torch.Tensor:
        unit = similarity_loss(scale * f_rec, scale * f_real)
        return torch.autograd.grad(at_variance(unit, 11, optimal_variance(unit, 11)), f_rec)[0]

    torch.testing.assert_close(gradient(1.0), gradient(100.0))


def test_real_features_are_a_constant_target() -> None:
    f_rec, f_real = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    similarity_loss(f_rec, f_real).backward()
    assert f_real.grad is None
    assert f_rec.grad is not None


@pytest.mark.parametrize("value", [-60.0, -1.0, 0.0, 2.0, 60.0])
def test_gan_costs_are_binary_cross_entropies_on_logits(float64: None, value: float) -> None:
    logit = torch.full((4,), value)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(real_cost(logit), bce(logit, torch.ones(4)))
    torch.testing.assert_close(fake_cost(logit), bce(logit, torch.zeros(4)))


@pytest.mark.parametrize("value", [-60.0, -1.0, 0.0, 2.0, 60.0])
def test_a_hinge_costs_nothing_beyond_its_margin(float64: None, value: float) -> None:
    logit = torch.full((4,), value)
    torch.testing.assert_close(hinge_real_cost(logit), torch.tensor(max(0.0, 1 - value)))
    torch.testing.assert_close(hinge_fake_cost(logit), torch.tensor(max(0.0, 1 + value)))


def test_a_relativistic_cost_is_of_pairs_at_the_same_place(float64: None) -> None:
    higher, lower = torch.tensor([3.0, -1.0]), torch.tensor([1.0, 60.0])
    expected = (torch.tensor(-2.0).exp().log1p() + 61) / 2
    torch.testing.assert_close(relativistic_cost(higher, lower), expected)
    assert not torch.equal(relativistic_cost(higher.flip(0), lower), expected)
