"""A folder of image files as a source of training images."""

import copy
import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vaegan.data.array_files import EIGHT_BITS, Levels
from vaegan.data.attributes import Attributes
from vaegan.data.decoded import DecodedFile
from vaegan.data.images import BadImageError, Crop, parse_colour, read_image
from vaegan.data.listing import FileNames, in_threads, list_images
from vaegan.data.scan import WHOLE, Scan, look_through, read_scan, write_scan
from vaegan.data.sources import Held
from vaegan.errors import UserError, in_one_line
from vaegan.files.cache_folder import default_folder
from vaegan.logs import EVERY_PROCESS

logger = logging.getLogger(__name__)

NAMED_AT_MOST = 10  # bad files listed in one message

# Whether to load a set into memory, by its size in bytes and whether processes share it.
Wants = Callable[[int, bool], bool]


class FolderImages:
    """Image files below a directory, in the order of their paths; `open_folder` makes one.

    Images that all lie in two or more sub-folders are labelled by the first folder of their path.

    Images are in memory, or each file is decoded when it is read. `bad_images` decides on a file
    that then cannot be decoded: it is refused, or replaced by the next readable file in the order
    of paths, with that file's label. The number of images stays the same, and the replacement
    depends on the files alone, not on processes or time.
    """

    def __init__(
        self,
        files: FileNames,
        held: Held | None,
        *,
        shape: tuple[int, int, int],
        background: tuple[int, int, int],
        crop: Crop | None,
        levels: Levels,
        bad_images: str,
        was_decoded: bool,
        listed: FileNames,
        places: Tensor | None,
        progress: bool,
    ) -> None:
        """`listed` has the files before undecodable ones were left out, and `places` those of
        `files` in it, int64 [N], or None where none were."""
        self.files, self.held = files, held
        self.root, self.shape, self.background, self.crop = files.root, shape, background, crop
        self.levels, self.dtype = levels, levels.dtype
        self.bad_images, self.was_decoded, self.progress = bad_images, was_decoded, progress
        self.listed, self.places = listed, places
        self.labels, self.class_names = _label(files)
        self.attributes: Attributes | None = None
        self.replaced: set[Path] = set()

    def __len__(self) -> int:
        return len(self.files)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "held": None}  # worker processes read files

    @property
    def total(self) -> int:
        return len(self.listed)

    @property
    def identity(self) -> str:
        names = hashlib.sha256(b"\0".join(self.files.raws())).hexdigest()
        return f"{len(self)} images, names {names[:16]}"

    def __getitem__(self, index: int) -> Tensor:
        return self.read(index)[1]

    def read(self, index: int) -> tuple[int, Tensor]:
        """The image at `index`, or the next that can be read, with its index.

        `UserError` where bad images are refused, or where none can be read any more.
        """
        if self.held is not None:
            return index, self.held.gather(torch.tensor([index]))[0]
        for place in (*range(index, len(self)), *range(index)):
            try:
                return place, self._decode(self.files[place])
            except BadImageError as error:
                if self.bad_images == "refuse":
                    was = ", which could be read at the start," * self.was_decoded
                    raise UserError(
                        f"{self.files[place]}{was} cannot be read ({error}): restore it and "
                        "start again (--resume continues a run), or give --bad-images skip, which "
                        "takes the next image in its place."
                    ) from None
        raise UserError(f"None of the images in {self.root} can be read any more: restore them.")

    def report_replaced(self, asked: Tensor, taken: Tensor) -> None:
        for index in asked[asked != taken].tolist():
            if (path := self.files[index]) not in self.replaced:
                self.replaced.add(path)
                text = (
                    f"{path} can no longer be read and the next image is taken in its place; "
                    f"{len(self.replaced)} of {len(self)} so far."
                )
                # Each process reads different images.
                logger.warning(in_one_line(text), extra=EVERY_PROCESS)

    def load(self) -> Held:
        """The images in memory; files that broke since the start are replaced as by `read`."""
        if self.held is not None:
            return self.held
        images = torch.empty((len(self), *self.shape), dtype=self.dtype)
        taken = torch.arange(len(self))

        def decode(path: Path) -> Tensor | None:
            try:
                return self._decode(path)
            except BadImageError:
                return None  # `read` reads it again below, and refuses or replaces it

        everything = range(len(self))
        found = in_threads(decode, self.files, everything, "loading images", progress=self.progress)
        for row, image in enumerate(found):
            if image is None:
                taken[row], image = self.read(row)
            images[row] = image
        self.report_replaced(torch.arange(len(self)), taken)
        if self.labels is not None:
            self.labels = self.labels[taken]
        if self.attributes is not None:
            self.attributes = self.attributes.select(taken)
        return Held(images, None, shared=False)

    def load_all(self) -> Tensor:
        held = self.load()
        return held.images if held.rows is None else held.images[held.rows]

    def select(self, rows: Tensor) -> "FolderImages":
        chosen = copy.copy(self)
        chosen.files = self.files.select(rows.numpy())
        chosen.labels = None if self.labels is None else self.labels[rows]
        chosen.attributes = None if self.attributes is None else self.attributes.select(rows)
        if self.held is not None:
            before = self.held.rows
            chosen.held = replace(self.held, rows=rows if before is None else before[rows])
        return chosen

    def part(self, chosen: Tensor, attributes: Attributes) -> "FolderImages":
        """Some of the images as a set of their own, with attributes in place of labels.

        chosen: bool, one for each file of `listed`. The attributes are of the chosen ones.
        """
        places = torch.arange(self.total) if self.places is None else self.places
        part = self.select(chosen[places].nonzero().flatten())
        part.listed = self.listed.select(chosen.nonzero().flatten().numpy())
        part.labels, part.class_names = None, ()
        part.attributes = attributes
        if self.places is not None:
            part.places = (chosen.cumsum(0) - 1)[places[chosen[places]]]
            part.attributes = attributes.select(part.places)
        return part

    def _decode(self, path: Path) -> Tensor:
        return read_image(
            path, self.shape[1], self.shape[0], self.background, self.crop, self.levels
        )


def open_folder(
    root: Path,
    *,
    size: int,
    channels: int,
    background: str = "white",
    crop: Crop | None = None,
    levels: Levels = EIGHT_BITS,
    bad_images: str = "refuse",
    check: Literal["headers", "all"] = "headers",
    wants: Wants = lambda size, shared: True,
    lead: bool = True,
    progress: bool = False,
) -> FolderImages:
    """The images below `root`, [channels,size,size] of `levels`, in memory where `wants` returns
    True.

    `crop` is the part of every picture to take; without it, the middle square. All headers are
    read. With `check` "all", and for images in memory, all files are decoded. Bad files are named
    and counted, and refused (`UserError`) or skipped, by `bad_images`. The scan and the decoded
    images are kept in the user's cache, where the processes that are not the `lead` of their
    machine read them.
    """
    colour, shape, cache = parse_colour(background), (channels, size, size), default_folder()
    # Which files can be read depends on them.
    kind = "" if levels == EIGHT_BITS and channels in (1, 3) else f"{channels} {levels}"
    before = read_scan(cache, root, kind)
    follows = not lead and before is not None
    scan = (
        before
        if before is not None and follows
        else look_through(root, before, deep=bool(kind), progress=progress)
    )

    headed = scan.headed
    refuse = bad_images == "refuse"
    files, stamps = scan.files.select(headed), scan.stamps[headed]
    decoded = DecodedFile(cache, files, stamps, shape, colour, crop, levels)
    if not follows:
        scan.in_memory = wants(decoded.size, decoded.can_be_kept())
    held = None
    if len(headed) and scan.in_memory and not (refuse and scan.bad):
        found = decoded.load(lead=not follows, refuse=refuse, progress=progress)
        for number, row in enumerate(headed.tolist()):
            scan.has_pixels(row, found.broken.get(number))
        held = Held(found.images, None, shared=decoded.is_kept())
    elif scan.in_memory or check == "all":
        scan.check_pixels(shape, levels, progress=progress)
    if not follows:
        try:
            if not scan.same_as(before):
                write_scan(cache, root, scan, kind)
        except OSError as error:
            logger.warning(
                f"What was found out of {root} is not kept, since {cache} cannot be written "
                f"({error.strerror}): every process and every start finds it out anew."
            )
        _answer_for_bad(root, scan, refuse)

    usable = np.setdiff1d(headed, list(scan.broken))
    if not len(usable):
        raise UserError(f"{root} holds no image that can be read.")
    return FolderImages(
        scan.files.select(usable),
        held,
        shape=shape,
        background=colour,
        crop=crop,
        levels=levels,
        bad_images=bad_images,
        was_decoded=bool((scan.state[usable] == WHOLE).all()),
        listed=files,
        places=torch.from_numpy(np.searchsorted(headed, usable)) if scan.broken else None,
        progress=progress,
    )


def folder_classes(root: Path) -> tuple[str, ...]:
    """The names of the class folders below `root`, by its files' names alone; empty without any."""
    files, _ = list_images(root)
    return _label(files)[1]


def _answer_for_bad(root: Path, scan: Scan, refuse: bool) -> None:
    """Name and count the files that are no images; refuse them, or warn that they are skipped."""
    bad = sorted({**scan.bad, **scan.broken}.items())
    if not bad:
        return
    listed = ", ".join(f"{scan.files.relative(row)} ({why})" for row, why in bad[:NAMED_AT_MOST])
    if len(bad) > NAMED_AT_MOST:
        listed += f", and {len(bad) - NAMED_AT_MOST} more"
    counted = f"{len(bad)} of {len(scan.files)} files in {root} cannot be read as images"
    if refuse:
        raise UserError(f"{counted}: {listed}; repair or remove them, or add --bad-images skip.")
    logger.warning(in_one_line(f"{counted} and are skipped: {listed}."))


def _label(files: FileNames) -> tuple[Tensor | None, tuple[str, ...]]:
    """int64 [N], and the names of the classes in their order."""
    parts = [files.relative(row).partition("/") for row in range(len(files))]
    names = tuple(sorted({first for first, _, _ in parts}))
    if len(names) < 2 or not all(slash for _, slash, _ in parts):
        return None, ()
    index = {name: i for i, name in enumerate(names)}
    return torch.tensor([index[first] for first, _, _ in parts]), names
