"""The learned similarity over one layer l of the discriminator or several, each with its weight.

    L_llike = sum over the layers l of w_l * -log N(Dis_l(x) | Dis_l(x_rec), variance_l)

With one layer of weight 1 this is Larsen et al. 2016, section 2.3. Several layers compare images at
several scales, as the feature matching of pix2pixHD does (Wang et al. 2018, arXiv 1711.11585). Each
layer has a likelihood, and with `likelihood = optimal-variance` a fitted variance, of its own.
"""

from vaegan.config import ObjectiveConfig
from vaegan.networks import Networks


def similarity_weights(networks: Networks, objective: ObjectiveConfig) -> dict[str, float]:
    """The weight of each layer l by the metric of its likelihood, in the order of the features.

    Where all weights are 0 there is no layer: nothing is computed for the similarity then.
    """
    if not objective.has_similarity:
        return {}
    layers, weights = networks.similarity_layers, objective.similarity_weights
    if len(weights) == 1:
        weights *= len(layers)
    if len(layers) == 1:
        return {"loss/similarity": weights[0]}
    return {
        f"loss/similarity_{layer}": weight for layer, weight in zip(layers, weights, strict=True)
    }
