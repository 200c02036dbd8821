"""Bad input of every kind: one sentence, exit code 2, nothing changed or executed, no hang."""

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.compare import main as compare
from evaluation.fid import main as fid
from tests.support.hostile_files import (
    Hostile,
    Maker,
    animation,
    array_tiff,
    changed,
    cifar,
    cut,
    cut_picture,
    flipped,
    folder_with,
    holds,
    idx,
    idx_gz,
    is_folder,
    is_pipe,
    is_sparse,
    links_to,
    packed_tight,
    picture,
    png,
    png_chunk,
    put,
    without,
)
from tests.support.tiny import TINY_OPTIONS
from vaegan.commands.train import main as train

# An open of a pipe that waits would be cut short by this, and fail its test.
pytestmark = pytest.mark.timeout(60)

PICTURES = ["--dataset", "folder", "--data-dir", "pictures"]
FEW = ["--num-reference", "8", "--num-reconstructions", "6", "--num-samples", "12"]
JUDGE = ["--extractor", "efficientnet-lite0", *FEW]
CKPT, RESUMABLE = "run/ckpt.pt", "run/checkpoints/step-00000001.pt"

# What each kind is tried on: the program, and its options before the kind's own.
COMMANDS: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
    "train": (train, [*TINY_OPTIONS, *PICTURES, "--output-dir", "out"]),
    "mnist": (train, [*TINY_OPTIONS, "--dataset", "mnist", "--data-dir", "sets"]),
    "cifar": (train, [*TINY_OPTIONS, "--dataset", "cifar10", "--data-dir", "sets"]),
    "config": (train, ["--config", "bad.json", "--output-dir", "out"]),
    "resume": (train, ["--output-dir", "run", "--resume", "--max-steps", "3"]),
    "similarity": (
        train,
        [*TINY_OPTIONS, *PICTURES, "--model", "vae-dis", "--similarity-from", CKPT],
    ),
    "fid": (fid, [CKPT, *JUDGE]),
    "compare": (compare, [CKPT, *JUDGE, "--output", "compared"]),
}


class Kind(NamedTuple):
    """One kind of bad input."""

    name: str
    command: str
    said: str
    """What the sentence must hold."""
    path: str = ""
    """What is damaged, or made anew, by `make`."""
    make: Maker = lambda path: None
    options: tuple[str, ...] = ()


def image(name: str, said: str, make: Maker, ending: str = "png") -> Kind:
    return Kind(f"image: {name}", "train", f"bad.{ending} ({said}", f"pictures/bad.{ending}", make)


def config(name: str, said: str, content: Any) -> Kind:
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    return Kind(f"config: {name}", "config", said, "bad.json", holds(text))


def value(said: str, *options: str) -> Kind:
    return Kind(f"value: {' '.join(options)[:60]}", "train", said, options=options)


def weights(name: str, said: str, make: Maker, command: str = "fid") -> Kind:
    path = RESUMABLE if command == "resume" else CKPT
    return Kind(f"{command} checkpoint: {name}", command, said, path, make)


NO_READ, NO_FIT = "that can be read", "do not fit the config"
WRONG_STATE = "does not fit the networks and the optimiser"
TEXT_BOMB = b"key\0\0" + zlib.compress(b"a" * 2**26)
MOMENTS = ("optimizer", "state", 0)

KINDS = [
    # Files that are no images, under an image's name
    image("no bytes", "empty file", holds(b"")),
    image("text", "not an image", holds("this is no image")),
    image("web page of a failed download", "not an image", holds("<!doctype html><h1>404</h1>")),
    image("vector graphic", "not an image", holds('<svg width="9" height="9"/>')),
    image("program in PostScript", "not an image", holds("%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n")),
    image("archive", "not an image", holds(b"PK\x03\x04" + b"\0" * 99)),
    image("pipe", "a pipe or a device", is_pipe),
    image("endless device", "a pipe or a device", links_to("/dev/zero")),
    image("link to nothing", "a link to nothing", links_to("gone.png")),
    image("link to itself", "damaged: ", links_to("bad.png")),
    image("gibibyte of nothing", "larger than 512 MiB", is_sparse),
    # Images with something wrong
    image("cut JPEG", "damaged", cut_picture("JPEG"), "jpg"),
    image("cut PNG", "damaged", cut_picture("PNG")),
    image("cut WebP", "damaged", cut_picture("WEBP"), "webp"),
    image("cut TIFF", "damaged", cut_picture("TIFF"), "tif"),
    image("cut BMP", "damaged", cut_picture("BMP"), "bmp"),
    image("cut GIF under another name", "damaged", cut_picture("GIF", 0.9)),
    image("animated WebP cut", "damaged", holds(animation("WEBP")[:60]), "webp"),
    image("animated PNG cut", "damaged", holds(animation("PNG")[:70])),
    image("PNG with a flipped bit", "damaged", holds(flipped(picture("PNG"), 60))),
    image("decompression bomb", "too many pixels", holds(png(30_000, 30_000))),
    image("small decompression bomb", "9999x9999 pixels are too many", holds(png(9999, 9999))),
    image("no width", "not an image", holds(png(0, 9))),
    image("bomb in a text", "", holds(png(9, 9, more=png_chunk(b"zTXt", TEXT_BOMB)))),
    image("floating-point pixels", "floating-point", array_tiff(np.ones((9, 9), "f4")), "tif"),
    image("32-bit pixels", "32-bit values", array_tiff(np.full((9, 9), 2**20, "i4")), "tiff"),
    Kind("image: name of two lines", "train", "a\\nb.png (empty", "pictures/a\nb.png", holds(b"")),
    Kind(
        "image: name that clears the terminal",
        "train",
        "\\x1b[2J.png (empty",
        "pictures/\x1b[2J.png",
        holds(b""),
    ),
    Kind(
        "image: name of broken Unicode", "train", "\\udcff.png", "pictures/\udcff.png", holds(b"")
    ),
    # Folders of images
    Kind("folder: is a file", "train", "not a directory", "pictures", holds("x"), ()),
    Kind("folder: is a pipe", "train", "not a directory", "pictures", is_pipe),
    Kind("folder: is a link to itself", "train", "pictures", "pictures", links_to("pictures")),
    Kind("folder: is empty", "train", "holds no image files", "pictures", is_folder),
    Kind(
        "folder: holds nothing but bad images",
        "train",
        "no image that can be read",
        "pictures",
        folder_with("a.png", holds(b"")),
        ("--bad-images", "skip"),
    ),
    # The standard data sets
    Kind("mnist: cut", "mnist", "whole file", "sets", idx(b"\0\0\x08\3", [2, 28, 28], b"\1" * 99)),
    Kind("mnist: foreign", "mnist", "whole file", "sets", idx(b"hello", [9], b"\1" * 99)),
    Kind("mnist: empty", "mnist", "whole file", "sets", idx(b"", [], b"")),
    Kind("mnist: no images", "mnist", "whole file", "sets", idx(b"\0\0\x08\3", [0, 28, 28], b"")),
    Kind("mnist: half a header", "mnist", "whole file", "sets", idx(b"\0\0\x08\xff", [], b"\1")),
    Kind("mnist: 16 bit", "mnist", "whole file", "sets", idx(b"\0\0\x0b\3", [2, 1, 1], b"\1" * 4)),
    Kind(
        "mnist: negative sizes",
        "mnist",
        "whole file",
        "sets",
        idx(b"\0\0\x08\3", [-2, -28, 28], b"\1" * 1568),
    ),
    Kind(
        "mnist: labels of no class",
        "mnist",
        "do not belong together",
        "sets",
        idx(b"\0\0\x08\3", [2, 28, 28], b"\1" * 1568, (0, 200)),
    ),
    Kind(
        "mnist: labels of other images",
        "mnist",
        "do not belong together",
        "sets",
        idx(b"\0\0\x08\3", [2, 28, 28], b"\1" * 1568, (0, 1, 2)),
    ),
    Kind("mnist: cut gzip", "mnist", "cannot be read", "sets", idx_gz(lambda b: b[:-20])),
    Kind("mnist: foreign gzip", "mnist", "cannot be read", "sets", idx_gz(lambda b: b"x" * 99)),
    Kind("mnist: bad gzip", "mnist", "cannot be read", "sets", idx_gz(lambda b: flipped(b, 12))),
    Kind("cifar: cut", "cifar", "whole batch", "sets", cifar("py", lambda b: b[:-9])),
    Kind("cifar: empty", "cifar", "whole batch", "sets", cifar("py", lambda b: b"")),
    Kind("cifar: cut binary", "cifar", "whole batch", "sets", cifar("bin", lambda b: b[:-9])),
    Kind("cifar: empty binary", "cifar", "whole batch", "sets", cifar("bin", lambda b: b"")),
    Kind(
        "cifar: binary of no class",
        "cifar",
        "whole batch",
        "sets",
        cifar("bin", lambda b: b"\xff" + b[1:]),
    ),
    Kind(
        "cifar: program",
        "cifar",
        "whole batch",
        "sets",
        cifar("py", {b"data": Hostile(), b"labels": []}),
    ),
    Kind("cifar: other names", "cifar", "whole batch", "sets", cifar("py", {b"pixels": b""})),
    Kind(
        "cifar: text for labels",
        "cifar",
        "whole batch",
        "sets",
        cifar("py", {b"data": np.zeros((2, 3072), "u1"), b"labels": ["a", "b"]}),
    ),
    Kind(
        "cifar: no images",
        "cifar",
        "whole batch",
        "sets",
        cifar("py", {b"data": np.zeros((0, 3072), "u1"), b"labels": []}),
    ),
    # Config files
    Kind("config: missing", "config", "There is no config file bad.json"),
    Kind("config: folder", "config", "a directory, not a file", "bad.json", is_folder),
    Kind("config: pipe", "config", "a pipe or a device", "bad.json", is_pipe),
    Kind("config: endless", "config", "a pipe or a device", "bad.json", links_to("/dev/zero")),
    Kind("config: enormous", "config", "larger than 1 MiB", "bad.json", is_sparse),
    config("empty", "cannot be read as JSON", ""),
    config("cut", "cannot be read as JSON", '{"data": {"image_size": 1'),
    config("bytes", "cannot be read as JSON", b"\xff\xfe\0\1"),
    config("nested too deeply", "cannot be read as JSON", "[" * 100_000),
    config("list", "does not hold a config", [1]),
    config("unknown setting", "unknown setting surprise", {"surprise": 1}),
    config("unknown setting in a group", "data.surprise", {"data": {"surprise": 1}}),
    config("name of two lines", "a\\nb", {"a\nb": 1}),
    config("null", "data.image_size", {"data": {"image_size": None}}),
    config("text for a number", "optim.lr", {"optim": {"lr": "fast"}}),
    config("number for a group", "network", {"network": 3}),
    config("list for a number", "training.batch_size", {"run": {"batch_size": [8]}}),
    config("not a number", "--beta nan", '{"objective": {"beta": NaN}}'),
    config("infinity", "--lr inf", '{"optim": {"lr": Infinity}}'),
    config("infinite equilibrium", "a finite", '{"objective": {"gate_equilibrium": -Infinity}}'),
    config("more digits than a number has", "--max-steps", {"run": {"max_steps": 10**40}}),
    config("path that ends early", "name a file", {"run": {"output_dir": "a\0b"}}),
    config("half a character", "name a file", {"data": {"data_dir": "\ud800"}}),
    config("empty list of widths", "--encoder-widths", {"network": {"encoder_widths": []}}),
    config(
        "number that is none of the choices",
        "data.pixel_bits",
        {"data": {"pixel_bits": 12}},
    ),
    # Values on the command line (more in test_cli.py and test_config.py)
    value("--lr nan", "--lr", "nan"),
    value("--epochs inf", "--epochs", "inf"),
    value("--epochs 1e+300", "--epochs", "1e300"),
    value("--batch-size 1000000000000", "--batch-size", "1000000000000"),
    value("--max-steps", "--max-steps", "9" * 30),
    value("--image-size", "--image-size", "9" * 5000),
    value("--seed", "--seed", "9" * 5000),
    value("--latent-size 1000000000", "--latent-size", "1000000000"),
    value("GiB of memory", "--latent-size", "65536", "--encoder-hidden", "65536"),
    value("--kernel 99", "--kernel", "99"),
    value("--workers 1000", "--workers", "1000"),
    value("--keep-last 0", "--keep-last", "0"),
    value("--adam-betas", "--adam-betas", "0.5", "1.5"),
    value("--lr-final-factor", "--lr-final-factor", "-1"),
    value("leaves nothing to train on", "--validation-images", "12"),
    value("--eval-extractor vgg", "--eval-every", "1", "--eval-extractor", "vgg"),
    value("--eval-samples 1000000000", "--eval-every", "1", "--eval-samples", "1000000000"),
    value("a\\nb is not a colour", "--background", "a\nb"),
    value("not known here", "--output-dir", "~nobody-here/run"),
    value("not known here", "--data-dir", "~nobody-here/images"),
    value("too long", "--output-dir", "x" * 300),
    value("too long", "--data-dir", "x" * 300),
    value("cannot be written", "--output-dir", "mine.txt/run"),
    value("is not an empty folder", "--output-dir", "mine.txt"),
    value("cannot be written", "--output-dir", "/proc/run"),
    value("max-steps", "--max-steps"),
    # Checkpoints for inference
    weights("missing", "There is no checkpoint", Path.unlink),
    weights("folder", "ckpt.pt", is_folder),
    weights("pipe", "ckpt.pt", is_pipe),
    weights("endless", "ckpt.pt", links_to("/dev/zero")),
    weights("empty", NO_READ, holds(b"")),
    weights("text", NO_READ, holds("weights")),
    weights("cut", NO_READ, cut(0.7)),
    weights("program", NO_READ, put(Hostile(), "config")),
    weights("program that torch would run", NO_READ, put(torch.nn.Linear(2, 2), "weights")),
    weights("compressed", NO_READ, packed_tight),
    weights("another package's", "something else", changed(lambda c: c["weights"]["decoder"])),
    weights("list", "something else", changed(lambda c: [c])),
    weights("for resuming", "vaegan-resume", put("vaegan-resume", "format")),
    weights("tensor for a format", "something else", put(torch.ones(3), "format")),
    weights("of a later version", "version 99", put(99, "version")),
    weights("tensor for a version", "version ?", put(torch.ones(3), "version")),
    weights("without a version", "version None", without("version")),
    weights("without averages", "version 1", without("ema")),
    weights("without a network", NO_FIT, without("weights", "discriminator")),
    weights("without a weight", NO_FIT, without("ema", "decoder", "to_image.bias")),
    weights("list of weights", "another weights", put([], "weights")),
    weights("numbers for networks", NO_FIT, put(3, "ema", "decoder")),
    weights("text for a weight", NO_FIT, put("x", "ema", "decoder", "to_image.bias")),
    weights("wrong shape", NO_FIT, put(torch.ones(9), "ema", "decoder", "to_image.bias")),
    weights(
        "one number as billions",
        NO_FIT,
        put(torch.ones(1).expand(10**6, 10**6), "ema", "decoder", "to_image.bias"),
    ),
    weights(
        "sparse weight",
        NO_FIT,
        put(torch.ones(3).to_sparse(), "ema", "decoder", "to_image.bias"),
    ),
    weights(
        "complex weight",
        NO_FIT,
        put(torch.ones(3, dtype=torch.complex64), "ema", "decoder", "to_image.bias"),
    ),
    weights(
        "diverged",
        "not finite",
        put(torch.full((3,), torch.nan), "ema", "decoder", "to_image.bias"),
    ),
    weights("other architecture", NO_FIT, put(7, "config", "network", "latent_size")),
    weights("enormous", "--encoder-hidden", put(10**9, "config", "network", "encoder_hidden")),
    weights("config of text", "another config", put("x", "config")),
    weights(
        "config of tensors", "data.image_size", put(torch.ones(2), "config", "data", "image_size")
    ),
    weights("config of a later version", "unknown setting", put(1, "config", "surprise")),
    weights("text for a step", "how far", put("many", "step")),
    weights("negative step", "how far", put(-1, "images_seen")),
    weights(
        "no discriminator",
        "holds no discriminator",
        without("weights", "discriminator"),
        "similarity",
    ),
    weights("wrong discriminator", NO_FIT, put({"x": 1}, "weights", "discriminator"), "similarity"),
    weights("cut", NO_READ, cut(0.5), "similarity"),
    weights("cut", NO_READ, cut(0.5), "compare"),
    weights("numbers for networks", NO_FIT, put(3, "ema", "decoder"), "compare"),
    # Run folders
    Kind("run: config cut", "resume", "as JSON", "run/config.json", cut(0.5)),
    Kind("run: config empty", "resume", "as JSON", "run/config.json", holds("")),
    Kind("run: config a pipe", "resume", "no run to resume", "run/config.json", is_pipe),
    Kind("run: config a folder", "resume", "no run to resume", "run/config.json", is_folder),
    Kind("run: other config", "resume", "unknown setting", "run/config.json", holds('{"a": 1}')),
    weights("cut", "step-00000001.pt", cut(0.5), "resume"),
    weights("empty", "step-00000001.pt", holds(b""), "resume"),
    weights("pipe", "step-00000001.pt", is_pipe, "resume"),
    weights("program", NO_READ, put(Hostile(), "networks"), "resume"),
    weights("of a later version", "version 99", put(99, "version"), "resume"),
    weights("text for a step", "how far", put("many", "step"), "resume"),
    weights("for inference", "vaegan-inference", put("vaegan-inference", "format"), "resume"),
    weights("other batch", "images per step", put(9, "global_batch"), "resume"),
    weights("complete", "is complete", put(9, "step"), "resume"),
    weights("without a network", WRONG_STATE, without("networks", "decoder"), "resume"),
    weights("numbers for networks", WRONG_STATE, put(3, "networks"), "resume"),
    weights("wrong average", WRONG_STATE, put({}, "ema", "decoder"), "resume"),
    weights("wrong moments", WRONG_STATE, put(torch.ones(1), *MOMENTS, "exp_avg"), "resume"),
    weights("text for moments", WRONG_STATE, put("x", *MOMENTS, "exp_avg"), "resume"),
    weights("no optimiser", WRONG_STATE, put(None, "optimizer"), "resume"),
    weights("wrong balance", WRONG_STATE, put("x", "balance"), "resume"),
    # Results of evaluations
    Kind("result: pipe", "fid", "no result of this", "r.json", is_pipe, ("--json", "r.json")),
    Kind("result: thesis", "fid", "no result of this", "r.json", holds("{}"), ("--json", "r.json")),
    Kind("result: folder", "fid", "no result of this", "r.json", is_folder, ("--json", "r.json")),
    Kind(
        "result: deep",
        "fid",
        "no result of this",
        "r.json",
        holds("[" * 10**5),
        ("--json", "r.json"),
    ),
    Kind("value: --num-samples", "fid", "at most", options=("--num-samples", "1000000000000")),
    Kind("value: --cache-dir", "fid", "not known here", options=("--cache-dir", "~nobody-here")),
    Kind("value: checkpoint", "fid", "too long", options=("--extractor-weights", "x" * 300)),
    Kind("comparison: a file", "compare", "is not a folder", "compared", holds("mine")),
    Kind(
        "comparison: a pipe for its result",
        "compare",
        "not this command's",
        "compared",
        folder_with("comparison.json", is_pipe),
    ),
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Twelve good pictures, and a run of one step on them."""
    where = tmp_path_factory.mktemp("good")
    (where / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for index in range(12):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(where / "pictures" / f"{index:02}.png")
    (where / "mine.txt").write_text("years of work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        options = [*COMMANDS["train"][1], "--max-steps", "1", "--output-dir", "run"]
        assert train(options) == 0
        yield where


def everything(where: Path) -> dict[str, str]:
    """What lies below a folder, by path: a digest of each file, the kind of anything else."""
    found = {}
    for path in sorted(where.rglob("*")):
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        elif path.is_file() and path.stat().st_size < 2**24:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[str(path)] = f"{path.stat().st_mode} {path.stat().st_size}"
    return found


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_bad_input_is_answered_with_one_sentence_and_nothing_is_touched(
    kind: Kind,
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = tmp_path / "w"
    shutil.copytree(good, where)
    monkeypatch.chdir(where)
    if kind.path == "pictures":
        shutil.rmtree("pictures")
    kind.make(Path(kind.path))
    before = everything(where)
    program, options = COMMANDS[kind.command]
    try:
        code = program([*options, *kind.options])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert ["error: " in line for line in lines].count(True) == 1, lines
    assert ".py: error: " in lines[-1], "nothing after the sentence"
    assert kind.said in lines[-1], lines[-1]
    assert "Traceback" not in captured.err
    assert everything(where) == before


def test_at_least_sixty_kinds_are_tried_each_under_its_own_name() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 60
