"""What augmentation does to images, whatever numbers it is given."""

import pytest
import torch

from vaegan.augmentation import PARAMETERS, augment

SIDES = pytest.mark.parametrize("side", [16, 24])


def uniform(*values: float) -> torch.Tensor:
    return torch.tensor([[*values]])


def test_nothing_asked_for_is_nothing_changed() -> None:
    x = torch.rand(3, 1, 16, 16)
    assert augment(x, (), torch.rand(3, PARAMETERS)) is x


@SIDES
@pytest.mark.parametrize("end", [0.0, 1 - 2**-24])
def test_a_translation_moves_an_image_by_an_eighth_at_most(side: int, end: float) -> None:
    x = torch.rand(1, 3, side, side) + 1
    most = side // 8
    found = augment(x, ("translation",), uniform(0, 0, 0, end, 0.5, 0, 0))
    expected = torch.zeros_like(x)
    if end:
        expected[:, :, most:] = x[:, :, :-most]
    else:
        expected[:, :, :-most] = x[:, :, most:]
    assert torch.equal(found, expected)


@SIDES
def test_a_cutout_is_a_square_of_half_the_side(side: int) -> None:
    x = torch.ones(1, 1, side, side)
    found = augment(x, ("cutout",), uniform(0, 0, 0, 0, 0, 0.5, 0.5))
    quarter = side // 4
    x[:, :, quarter:-quarter, quarter:-quarter] = 0
    assert torch.equal(found, x)
    corner = augment(torch.ones_like(x), ("cutout",), uniform(0, 0, 0, 0, 0, 0, 1 - 2**-24))
    assert int((corner == 0).sum()) == quarter**2


def test_colours_in_the_middle_of_their_ranges_stay() -> None:
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(augment(x, ("color",), uniform(*[0.5] * 7)), x)


def test_each_image_is_changed_by_its_own_numbers() -> None:
    x, drawn = torch.rand(1, 3, 16, 16).expand(4, -1, -1, -1), torch.rand(4, PARAMETERS)
    kinds = ("color", "translation", "cutout")
    found = augment(x, kinds, drawn)
    for image, numbers, result in zip(x, drawn, found, strict=True):
        torch.testing.assert_close(augment(image[None], kinds, numbers[None])[0], result)
    assert not torch.equal(found[0], found[1])
