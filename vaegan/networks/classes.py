"""How the networks of a conditional model are given the class of an image.

Letters: K classes, B batch, Z latent size, D features before the discriminator's last linear layer.

    Encoder        a learned number for each channel is added to the maps behind its first stage
                   (paper.py) or its stem (residual.py)
    Decoder        a learned vector of Z numbers is joined to z before its first linear layer
    Discriminator  logit + <v, h>: the inner product of a learned vector with those D features

Encoder and decoder are those of the conditional VAE, q(z|x,y) and p(x|z,y) (Sohn et al. 2015,
"Learning structured output representation using deep conditional generative models"). The
discriminator's is the projection of Miyato & Koyama 2018 (arXiv 1802.05637). All
features before it, those at the layers l too, are of the image alone.

Each network has its own vectors. A model without classes has none of these layers, and draws no
random number for them.
"""

from collections.abc import Mapping

from torch import Tensor, nn

PROJECTION = "projection"
"""The attribute of a discriminator that holds its vectors."""


class ClassVectors(nn.Module):
    """A learned vector for each class: labels int64 [B] in 0 to K - 1 -> [B,D].

    At first their numbers are drawn from N(0, `std`^2).
    """

    def __init__(self, classes: int, size: int, std: float) -> None:
        super().__init__()
        self.vectors = nn.Embedding(classes, size)
        nn.init.normal_(self.vectors.weight, std=std)

    def forward(self, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise ValueError("the networks are conditional, and no labels are given")
        vectors: Tensor = self.vectors(labels)
        return vectors


def class_vectors(classes: int, size: int, std: float = 1.0) -> ClassVectors | None:
    """Vectors for so many classes; None for 0."""
    return ClassVectors(classes, size, std) if classes else None


def without_projection(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A discriminator's weights as those of one that is not given classes."""
    return {k: v for k, v in weights.items() if not k.startswith(f"{PROJECTION}.")}
