"""Classes as users write them: names and numbers, for one image or for each."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vaegan.errors import UserError

Labels = int | str | Sequence[int | str] | Tensor
"""Classes by number, from 0 on, or by name; one for all images, or one for each."""

MOST_LISTED = 10


def class_labels(labels: Labels, count: int, names: Sequence[str]) -> Tensor:
    """The classes of `count` images, int64 [count] on the CPU, with `names` of all classes.

    Raises `UserError` for a class that there is not, and for another number of labels.
    """
    if isinstance(labels, Tensor):
        labels = labels.tolist()
    each = [labels] * count if isinstance(labels, int | str) else list(labels)
    if len(each) != count:
        raise UserError(
            f"{len(each)} labels are given for {count} images: give one for each, or a single "
            "class for all."
        )
    return torch.tensor([_number(label, names) for label in each], dtype=torch.int64)


def listed(names: Sequence[str]) -> str:
    """The names in a sentence, the first ten and how many more there are."""
    more = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def _number(label: object, names: Sequence[str]) -> int:
    if isinstance(label, str) and label in names:
        return names.index(label)
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(names):
        return label
    raise UserError(
        f"{label} is no class of the model: give a number from 0 to {len(names) - 1}, or one of "
        f"{listed(names)}."
    )
