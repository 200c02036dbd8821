"""Published data sets, downloaded through torchvision so that no incomplete file appears.

Machines that share a folder may all download into it at the same time.
"""

import os
import tempfile
from pathlib import Path
from typing import Literal

PublishedName = Literal["MNIST", "FashionMNIST", "CIFAR10"]


def download(name: PublishedName, root: Path) -> None:
    """Download a data set into `root`, in torchvision's layout; digests are checked.

    Each process downloads into a folder of its own below `root`, on the same disk, and then renames
    every file to its final name. Of several processes, the last one's files stay; all are the same.
    A failure raises `OSError` or `RuntimeError` and leaves no file.
    """
    import torchvision  # takes seconds, and existing files do not need it

    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as aside:
        getattr(torchvision.datasets, name)(aside, download=True)
        for folder, _, files in os.walk(aside):
            place = root / Path(folder).relative_to(aside)
            place.mkdir(exist_ok=True)
            for file in files:
                Path(folder, file).replace(place / file)
