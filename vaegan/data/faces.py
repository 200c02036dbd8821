"""CelebA and LFW: aligned faces with attributes, read from the files that they are published in.

The crops are those of the paper's experiments, by the author's code (dataset/celeba.py and
dataset/lfw.py of andersbll/autoencoding_beyond_pixels at 1906387): of CelebA's aligned images, 178
pixels wide and 218 high, rows 40 to 187 and columns 15 to 162; of LFW's, 250 by 250, the middle 150
by 150. They are resized as those of every folder, by an antialiased Lanczos filter, where the
author smooths and interpolates cubically. The author aligns LFW by landmarks that are published
apart; here its deep-funneled images are read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vaegan.data.archives import unpack
from vaegan.data.attributes import Attributes
from vaegan.data.folder import FolderImages
from vaegan.data.images import Crop
from vaegan.errors import UserError
from vaegan.files.regular_files import read_regular

MOST_BYTES = 2**28  # of one list; CelebA's of attributes has 27 MB

CELEBA_TEST = 2  # in list_eval_partition.txt; 0 and 1 are its training and validation images


@dataclass(frozen=True)
class Table:
    """What the lists tell of each image."""

    rows: dict[str, int]
    """The row of an image, by its file's name."""
    test: np.ndarray
    """bool [N]: whether it is of the test split."""
    attributes: Attributes


@dataclass(frozen=True)
class Published:
    """A set of faces as it is published."""

    places: tuple[str, ...]
    """Folders below `--data-dir`, the first of which is named where files are missing."""
    images: str
    """The folder of the images."""
    archive: str
    """The archive of that folder, which is unpacked where the folder is missing."""
    lists: tuple[str, ...]
    crop: Crop
    read: Callable[[Path], Table]
    """The content of `lists` in a folder; raises `UserError`."""
    source: str
    """Where the files come from."""


class Faces:
    """The images of one set, opened once for both splits."""

    def __init__(
        self, dataset: str, root: Path, open_images: Callable[[Path, Crop], FolderImages]
    ) -> None:
        """`open_images(folder, crop)` opens a folder of images.

        Raises `UserError` where files are missing, which names them and their source, and for
        lists that are damaged.
        """
        published = PUBLISHED[dataset]
        place = _place(root, published)
        table = published.read(place)
        folder = place / published.images
        if not folder.is_dir():
            folder = unpack(place / published.archive, published.images)
        self._whole = open_images(folder, published.crop)
        listed = self._whole.listed
        names = [listed.relative(i).rpartition("/")[2] for i in range(len(listed))]
        refuse = self._whole.bad_images == "refuse"
        if refuse and (missing := table.rows.keys() - set(names)):
            raise UserError(
                f"{folder} lacks {len(missing):,} of the {len(table.rows):,} images that "
                f"{' and '.join(published.lists)} name, such as {min(missing)}: unpack "
                f"{published.archive} again, or give --bad-images skip."
            )
        self._rows = np.array([table.rows.get(name, -1) for name in names], np.int64)
        self._table = table

    def split(self, *, test: bool) -> FolderImages:
        """The images of one split, with their attributes and without labels."""
        known, rows = self._rows >= 0, self._rows
        chosen = torch.from_numpy(known & (self._table.test[rows] == test))
        if not chosen.any():
            name = "test" if test else "training"
            raise UserError(f"{self._whole.root} holds no image of the {name} split.")
        attributes = self._table.attributes.select(torch.from_numpy(rows)[chosen])
        return self._whole.part(chosen, attributes)


def _place(root: Path, published: Published) -> Path:
    """The folder that holds the files; `UserError` where one of them is missing."""
    folders = [root / place for place in published.places]
    names = (published.images, published.archive, *published.lists)
    place = next((f for f in folders if any((f / n).exists() for n in names)), folders[0])
    missing = [name for name in published.lists if not (place / name).is_file()]
    if not (place / published.images).is_dir() and not (place / published.archive).is_file():
        missing.insert(0, f"{published.images}/ (or {published.archive})")
    if missing:
        them = "it" if len(missing) == 1 else "them"
        raise UserError(
            f"{place} lacks {', '.join(missing)}: put {them} there, from {published.source}."
        )
    return place


def read_celeba(place: Path) -> Table:
    """CelebA's `list_eval_partition.txt` and `list_attr_celeba.txt`.

    As the author does for the results of the paper, its training and its validation images are both
    trained on.
    """
    path = place / "list_eval_partition.txt"
    partition: dict[str, str] = {}
    for line in _lines(path):
        name, _, number = line.partition(" ")
        if number.strip() not in ("0", "1", "2"):
            raise _damaged(path)
        partition[name] = number.strip()
    path = place / "list_attr_celeba.txt"
    lines = _lines(path)
    count, names = next(lines, "").strip(), tuple(next(lines, "").split())
    rows: dict[str, int] = {}
    values = []
    for line in lines:
        name, *row = line.split()
        if len(row) != len(names) or not set(row) <= {"1", "-1"}:
            raise _damaged(path)
        rows[name] = len(rows)
        values.append([value == "1" for value in row])
    if not rows or not str(len(rows)) == str(len(values)) == count:
        raise _damaged(path)
    if rows.keys() != partition.keys():
        raise _damaged(place / "list_eval_partition.txt")
    test = np.array([int(partition[name]) == CELEBA_TEST for name in rows])
    return Table(rows, test, Attributes(names, torch.tensor(values)))


def read_lfw(place: Path) -> Table:
    """LFW's people of the development splits, and the attributes of Kumar et al. 2009.

    The attributes are scores of classifiers; an image has one where its score is above 0. Images
    without attributes are left out, as the author does.
    """
    people: dict[str, bool] = {}
    for name, test in (("peopleDevTrain.txt", False), ("peopleDevTest.txt", True)):
        lines = _lines(place / name)
        next(lines, None)  # the number of people
        people |= {line.split("\t")[0].strip(): test for line in lines}
    path = place / "lfw_attributes.txt"
    lines = _lines(path)
    next(lines, None)  # a title
    head = [name.strip() for name in next(lines, "").split("\t")]
    if head[:3] != ["#", "person", "imagenum"]:
        raise _damaged(path)
    names = tuple(name for name in head[3:] if name)
    rows: dict[str, int] = {}
    is_test, scores = [], []
    for line in lines:
        person, number, *row = [word.strip() for word in line.rstrip().split("\t")]
        person = person.replace(" ", "_")
        if person not in people:
            continue
        try:
            scores.append([float(score) for score in row])
            rows[f"{person}_{int(number):04d}.jpg"] = len(rows)
        except ValueError:
            raise _damaged(path) from None
        if len(row) != len(names):
            raise _damaged(path)
        is_test.append(people[person])
    values = torch.tensor(scores)
    if not rows or len(scores) != len(rows) or not values.isfinite().all():
        raise _damaged(path)
    return Table(rows, np.array(is_test), Attributes(names, values > 0))


def _lines(path: Path) -> Iterator[str]:
    """The lines of a list that are not empty."""
    try:
        text = read_regular(path, MOST_BYTES).decode()
    except UnicodeDecodeError:
        raise _damaged(path) from None
    return (line for line in text.splitlines() if line.strip())


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is not the whole published list: fetch it again.")


PUBLISHED = {
    "celeba": Published(
        places=("celeba", "."),
        images="img_align_celeba",
        archive="img_align_celeba.zip",
        lists=("list_attr_celeba.txt", "list_eval_partition.txt"),
        crop=Crop(left=15, upper=40, right=163, lower=188, of=(178, 218)),
        read=read_celeba,
        source="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    ),
    "lfw": Published(
        places=("lfw-py", "."),
        images="lfw-deepfunneled",
        archive="lfw-deepfunneled.tgz",
        lists=("lfw_attributes.txt", "peopleDevTrain.txt", "peopleDevTest.txt"),
        crop=Crop(left=50, upper=50, right=200, lower=200, of=(250, 250)),
        read=read_lfw,
        source="http://vis-www.cs.umass.edu/lfw and, for the attributes, "
        "https://www.cs.columbia.edu/CAVE/databases/pubfig/download/lfw_attributes.txt",
    ),
}
"""By the name of the data set. The places are torchvision's."""
