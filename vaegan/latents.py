"""The latents that samples are decoded from: the prior's, or a mixture fitted to the posterior.

The mixture of a conditional model has one component for each class.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.files.extras import needed
from vaegan.networks import Posterior, Prior
from vaegan.randomness import Purpose, generator, prior_sample

COMPONENTS = 10
REGULARISED = 1e-6  # added to each variance: a constant latent leaves no covariance singular


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture: weights [K], means [K,Z], roots [K,Z,Z] of the covariances, lower."""

    weights: Tensor
    means: Tensor
    roots: Tensor
    converged: bool
    iterations: int
    of_classes: bool = False
    """Whether component k is that of class k, of a conditional model."""

    def sample(self, count: int, seed: int, component: Tensor | None = None) -> Tensor:
        """z [count,Z], float32: the prior's noise of this seed, mapped to the components.

        `component` is each sample's, int64 [count]; None to draw them by their weights.
        """
        if component is None:
            source = generator(seed, Purpose.SAMPLES, index=1)
            component = torch.multinomial(self.weights, count, replacement=True, generator=source)
        z = prior_sample(count, self.means.shape[1:], seed)
        for k in range(len(self.weights)):
            chosen = component == k
            z[chosen] = (self.means[k] + z[chosen].double() @ self.roots[k].T).float()
        return z


def component_noise(count: int, seed: int) -> Tensor:
    """What the components of `count` samples of a learned prior follow from: [count] in [0, 1)."""
    source = generator(seed, Purpose.SAMPLES, index=6)
    return torch.rand(count, generator=source, dtype=torch.float64)


def of_prior(
    noise: Tensor, component: Tensor, prior: nn.Module | None, labels: Tensor | None = None
) -> Tensor:
    """Latents [N,Z] of the prior from `noise` [N,Z] of N(0, I), on the CPU: the noise itself, or
    that of the components of a learned prior which `component` [N] chooses.

    `labels` are the classes of a conditional model's, int64 [N].
    """
    if prior is None:
        return noise
    device = next(prior.parameters()).device
    with torch.no_grad():
        learned = prior() if labels is None else prior(labels.to(device))
        learned = Prior(*(part.cpu().double() for part in learned))
        return learned.sample(noise.cpu().double(), component).float()


def refuse_maps(config: Config, instead: str) -> None:
    """`UserError` where the latents of a model are maps and vectors are needed: do `instead`."""
    if config.network.family == "kl":
        raise UserError(
            f"The latents of a model of family kl are maps, and vectors are needed here: {instead}."
        )


def draw_from(posterior: Posterior, seed: int) -> Tensor:
    """z [N,Z]: a draw from the posterior of each of N images, which a mixture is fitted to.

    Raises `UserError` where the latents are not finite.
    """
    noise = generator(seed, Purpose.SAMPLES, index=2)
    z = posterior.sample(torch.randn(posterior.mu.shape, generator=noise))
    if not z.isfinite().all():
        raise UserError("The model's latents are not finite: its training has diverged.")
    return z


def choose_images(
    count: int, total: int, seed: int, of_classes: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Rows of `total` images whose posteriors `count` samples are drawn from, int64 [count].

    Each image is chosen as often as any other. `of_classes` has the classes wanted, int64 [count],
    and those of the images, int64 [total]: each sample is then of an image of its own class.
    """
    source = generator(seed, Purpose.SAMPLES, index=4)

    def in_turn(wanted: int, there: int) -> Tensor:
        rounds = [torch.randperm(there, generator=source) for _ in range(-(-wanted // there))]
        return torch.cat(rounds)[:wanted]

    if of_classes is None:
        return in_turn(count, total)
    wanted, there = of_classes
    rows = torch.empty(count, dtype=torch.int64)
    for label in wanted.unique():
        own = (there == label).nonzero().flatten()
        rows[wanted == label] = own[in_turn(int((wanted == label).sum()), len(own))]
    return rows


def fit_mixture(z: Tensor, seed: int = 0) -> Mixture:
    """Ten full covariances fitted to latents [N,Z], N at least 20, by scikit-learn's EM.

    It is the second sampler of the literature on autoencoders (Ghosh et al. 2020, arXiv
    1903.12436). EM starts from k-means and stops after 300 rounds at the latest. Raises `UserError`
    for fewer latents, and where scikit-learn is not installed.
    """
    if len(z) < 2 * COMPONENTS:
        raise UserError(
            f"A mixture of {COMPONENTS} components is fitted to {2 * COMPONENTS} images or more, "
            f"and there are {len(z)}: sample from the prior."
        )
    needed("sklearn", "evaluation")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(COMPONENTS, max_iter=300, reg_covar=REGULARISED, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the result records it instead
        mixture.fit(z.double().numpy())
    return Mixture(
        torch.from_numpy(mixture.weights_),
        torch.from_numpy(mixture.means_),
        torch.linalg.cholesky(torch.from_numpy(mixture.covariances_)),
        bool(mixture.converged_),
        int(mixture.n_iter_),
    )


def mixture_of(
    posterior: Posterior, seed: int = 0, *, labels: Tensor | None = None, classes: int = 0
) -> Mixture:
    """`fit_mixture` of a draw from the posterior of training images, 20 or more.

    For a conditional model give the images' `labels`, int64 [N], and its number of `classes`:
    `fit_classes`.
    """
    z = draw_from(Posterior(posterior.mu.cpu(), posterior.logvar.cpu()), seed)
    return fit_mixture(z) if labels is None else fit_classes(z, labels, classes)


def fit_classes(z: Tensor, labels: Tensor, classes: int) -> Mixture:
    """The mean and the full covariance of the latents [N,Z] of each class, labels int64 [N].

    They are the maximum of the likelihood, found without rounds of EM. Raises `UserError` for a
    class of less than 2 latents.
    """
    count = torch.bincount(labels, minlength=classes)
    if count.min() < 2:
        raise UserError(
            "--sampler gmm fits a Gaussian to the training images of each class, and class "
            f"{int(count.argmin())} has {int(count.min())} of them: use --sampler prior."
        )
    z = z.double()
    of_classes = [z[labels == label] for label in range(classes)]
    unit = REGULARISED * torch.eye(z.shape[1], dtype=z.dtype)
    covariances = [each.T.cov(correction=0).reshape(unit.shape) + unit for each in of_classes]
    return Mixture(
        count.double() / len(z),
        torch.stack([each.mean(0) for each in of_classes]),
        torch.linalg.cholesky(torch.stack(covariances)),
        converged=True,
        iterations=0,
        of_classes=True,
    )
