"""The latents that samples are decoded from: the prior, or a mixture fitted to the posterior."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

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


def fit_mixture(z: Tensor, seed: int = 0) -> Mixture:
    """Ten full covariances fitted to latents [N,Z], N at least 20, by scikit-learn's EM.

    It is the second sampler of the literature on autoencoders (Ghosh et al. 2020, arXiv
    1903.12436). EM starts from k-means and stops after 300 rounds at the latest.
    """
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
