"""The scan of a folder of images: which files can be read, kept for the next start.

A file is not read again until its size or one of its times changes. One process of a machine scans,
and the others read its result.
"""

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaegan.data.array_files import Levels
from vaegan.data.images import BadImageError, check_header, read_image
from vaegan.data.listing import FileNames, in_threads, list_images
from vaegan.errors import in_one_line
from vaegan.files.cache_folder import keep_newest, mark_used, shared_file
from vaegan.files.tensor_files import read_tensors

logger = logging.getLogger(__name__)

FORMAT = "vaegan-scan-1"
KEPT_BYTES = 2**30  # of all scans together: of some ten million files

UNKNOWN, HEADER, WHOLE = 0, 1, 2  # how much of a file was read without a fault


@dataclass
class Scan:
    """The files of a folder, and which of them are images."""

    files: FileNames
    stamps: np.ndarray
    """int64 [N,3], as `list_images` gives them."""
    state: np.ndarray
    """uint8 [N]: how much of each file was read without a fault."""
    bad: dict[int, str]
    """The reason why a file's first bytes are not those of an image, by its number."""
    broken: dict[int, str]
    """The reason why a file that begins like an image cannot be decoded to its end."""
    in_memory: bool = False
    """Whether the process that scanned loaded the decoded images into memory."""

    @property
    def headed(self) -> np.ndarray:
        """Numbers of the files that begin like images: int64, ascending."""
        return np.setdiff1d(np.arange(len(self.files)), list(self.bad))

    def check_headers(self, *, deep: bool, progress: bool) -> None:
        """Read the first bytes of the files that were not read before."""
        rows = np.flatnonzero(self.state == UNKNOWN)
        known = [row for row in rows.tolist() if row not in self.broken]
        why_bad = partial(_why_bad, deep=deep)
        whys = in_threads(why_bad, self.files, known, "checking images", progress=progress)
        for row, why in zip(known, whys, strict=True):
            if why is None:
                self.state[row] = HEADER
            else:
                self.bad[row] = why

    def check_pixels(self, shape: tuple[int, int, int], levels: Levels, *, progress: bool) -> None:
        """Decode the files that were not decoded before."""
        rows = np.flatnonzero(self.state == HEADER).tolist()

        def why_broken(path: Path) -> str | None:
            try:
                read_image(path, shape[1], shape[0], (0, 0, 0), levels=levels)
            except BadImageError as error:
                return str(error)
            return None

        whys = in_threads(why_broken, self.files, rows, "checking images", progress=progress)
        for row, why in zip(rows, whys, strict=True):
            self.has_pixels(row, why)

    def has_pixels(self, row: int, why: str | None) -> None:
        """Note that a file could be decoded, or the reason why not."""
        if why is None:
            self.state[row] = WHOLE
            self.broken.pop(row, None)
        else:
            self.state[row] = UNKNOWN
            self.broken[row] = why

    def same_as(self, other: "Scan | None") -> bool:
        """Whether the scan has not changed since."""
        return other is not None and all(
            (
                self.files.raws() == other.files.raws(),
                np.array_equal(self.stamps, other.stamps),
                np.array_equal(self.state, other.state),
                (self.bad, self.broken) == (other.bad, other.broken),
                self.in_memory == other.in_memory,
            )
        )


def _why_bad(path: Path, *, deep: bool) -> str | None:
    try:
        check_header(path, deep=deep)
    except BadImageError as error:
        return str(error)
    return None


def look_through(root: Path, before: Scan | None, *, deep: bool = False, progress: bool) -> Scan:
    """List `root` and check the headers of files that are new or changed since `before`.

    `deep` is as `check_header` takes it.
    """
    files, stamps = list_images(root, progress=progress)
    scan = Scan(files, stamps, np.zeros(len(files), np.uint8), {}, {})
    if before is not None:
        numbers = {name: number for number, name in enumerate(before.files.raws())}
        for row, name in enumerate(files.raws()):
            old = numbers.get(name)
            if old is None or (stamps[row] != before.stamps[old]).any():
                continue
            scan.state[row] = before.state[old]
            if old in before.broken:
                scan.broken[row] = before.broken[old]
    scan.check_headers(deep=deep, progress=progress)
    return scan


def scan_file(folder: Path, root: Path, kind: str = "") -> Path:
    """Where the scan of `root` is kept; `kind` tells apart scans of other channels and values."""
    by = os.fsencode(os.path.realpath(root)) + (f"\0{kind}".encode() if kind else b"")
    name = hashlib.sha256(by).hexdigest()[:32]
    return folder / "scans" / f"{name}.pt"


def read_scan(folder: Path, root: Path, kind: str = "") -> Scan | None:
    """The scan of `root` in `folder`; None where it is missing or damaged."""
    path = scan_file(folder, root, kind)
    try:
        with path.open("rb") as file:
            content = read_tensors(file)
        if content["sha256"] != _digest(content):
            raise ValueError("its digest does not fit")
        stops = content["stops"].numpy()
        starts = np.concatenate([[0], stops[:-1]])
        bad, broken = (
            {int(row): why for row, why in each.items()} for each in json.loads(content["reasons"])
        )
        scan = Scan(
            FileNames(root, content["text"].numpy().tobytes(), starts, stops),
            content["stamps"].numpy(),
            content["state"].numpy(),
            bad,
            broken,
            in_memory=content["in_memory"],
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except Exception as error:  # a damaged file can raise nearly anything
        text = f"What was known of {root} is damaged ({error}) and is found out anew."
        logger.warning(in_one_line(text))
        return None
    mark_used(path)
    return scan


def write_scan(folder: Path, root: Path, scan: Scan, kind: str = "") -> None:
    """Keep a scan for the next start and the other processes; raises `OSError`."""
    path = scan_file(folder, root, kind)
    content = {
        "format": FORMAT,
        "text": torch.frombuffer(bytearray(scan.files.text), dtype=torch.uint8),
        "stops": torch.from_numpy(scan.files.stops),
        "stamps": torch.from_numpy(scan.stamps),
        "state": torch.from_numpy(scan.state),
        "reasons": json.dumps([scan.bad, scan.broken]),
        "in_memory": scan.in_memory,
    }
    with shared_file(path) as file:
        torch.save({**content, "sha256": _digest(content)}, file)
    keep_newest(path.parent, at_most=KEPT_BYTES)


def _digest(content: dict[str, Any]) -> str:
    digest = hashlib.sha256(f"{FORMAT} {content['in_memory']} {content['reasons']}".encode())
    for name in ("text", "stops", "stamps", "state"):
        digest.update(content[name].numpy().data)
    return digest.hexdigest()
