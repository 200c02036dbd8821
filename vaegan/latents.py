"""The latents that samples are decoded from: the prior, or a mixture fitted to the posterior."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from vaegan.errors import UserError
from vaegan.files.extras import needed
from vaegan.networks import Posterior
from vaegan.randomness import Purpose, generator, prior_sample

COMPONENTS = 10


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture: weights [K], means [K,Z], roots [K,Z,Z] of the covariances, lower."""

    weights: Tensor
    means: Tensor
    roots: Tensor
    converged: bool
    iterations: int

    def sample(self, count: int, seed: int) -> Tensor:
        """z [count,Z], float32: the prior's noise of this seed, mapped to the components."""
        source = generator(seed, Purpose.SAMPLES, index=1)
        component = torch.multinomial(self.weights, count, replacement=True, generator=source)
        z = prior_sample(count, self.means.shape[1], seed)
        for k in range(len(self.weights)):
            chosen = component == k
            z[chosen] = (self.means[k] + z[chosen].double() @ self.roots[k].T).float()
        return z


def draw_from(posterior: Posterior, seed: int) -> Tensor:
    """z [N,Z]: a draw from the posterior of each of N images, which a mixture is fitted to.

    Raises `UserError` where the latents are not finite.
    """
    noise = generator(seed, Purpose.SAMPLES, index=2)
    z = posterior.sample(torch.randn(posterior.mu.shape, generator=noise))
    if not z.isfinite().all():
        raise UserError("The model's latents are not finite: its training has diverged.")
    return z


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

    # Regularised a little, so that a latent that is constant leaves no covariance singular.
    mixture = GaussianMixture(COMPONENTS, max_iter=300, reg_covar=1e-6, random_state=seed)
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


def mixture_of(posterior: Posterior, seed: int = 0) -> Mixture:
    """`fit_mixture` of a draw from the posterior of training images, 20 or more."""
    return fit_mixture(draw_from(Posterior(posterior.mu.cpu(), posterior.logvar.cpu()), seed))
