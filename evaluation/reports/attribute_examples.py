"""A picture of models that were asked for attributes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vaegan.data.images import to_network_range
from vaegan.metrics.attribute_requests import AttributeData, Requests
from vaegan.metrics.attribute_similarity import are_classes
from vaegan.run.labelled_grid import labelled_grid

IMAGES, ATTRIBUTES = 2, 10  # the first test images and attributes are shown


def draw_examples(models: Mapping[str, Requests], real: AttributeData) -> Tensor:
    """A row for each model, uint8 [3,H,W].

    For each image: itself, its reconstruction, and the image with each of the attributes: instead
    of its own class, or beside its own attributes.
    """
    names = real.test_attributes.names[:ATTRIBUTES]
    classes = are_classes(real.test_attributes.values)
    rows = []
    for requests in models.values():
        cells = []
        for image, own in zip(real.test[:IMAGES], real.test_attributes.values, strict=False):
            asked = own.repeat(len(names) + 1, 1)  # the first stays as it is
            for index in range(len(names)):
                asked[index + 1] &= not classes
                asked[index + 1, index] = True
            z = requests.latents(image[None])
            cells += [to_network_range(image[None]), requests.moved(z, own[None], asked)]
        rows.append(torch.cat(cells))
    columns = ["original", "own", *names]
    return labelled_grid(torch.stack(rows), list(models), columns * IMAGES, group=len(columns))
