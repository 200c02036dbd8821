"""A folder of images is decoded once: for all processes, all splits, and the next start."""

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.support.commands import ROOT, run_command
from tests.support.tiny import TINY_OPTIONS
from tests.test_distributed import processes
from vaegan.commands.train import main
from vaegan.config import DataConfig
from vaegan.data import DataSet, images
from vaegan.data.folder import FolderImages, open_folder
from vaegan.data.listing import list_images
from vaegan.errors import UserError
from vaegan.files.cache_folder import keep_newest

EVALUATED = ["--eval-every", "2", "--eval-samples", "8", "--eval-extractor", "efficientnet-lite0"]
FOLDER = [*TINY_OPTIONS, "--dataset", "folder", "--data-dir", "in", "--max-steps", "2"]


def fill(folder: Path, count: int) -> Path:
    """Grey squares in two classes."""
    for index in range(count):
        path = folder / "ab"[index % 2] / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20), index % 256).save(path)
    return folder


def count_decodes(note: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    flatten = images._flatten

    def counted(*arguments: Any) -> Any:
        note()
        return flatten(*arguments)

    patch.setattr(images, "_flatten", counted)


@pytest.fixture
def decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each image that is decoded; in an empty folder with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    counted: list[None] = []
    count_decodes(lambda: counted.append(None), monkeypatch)
    return counted


def test_a_run_with_validation_images_decodes_each_of_400_files_once_and_the_next_none(
    tmp_path: Path, decodes: list[None]
) -> None:
    fill(tmp_path / "in", 400)
    options = [*FOLDER, *EVALUATED, "--validation-images", "40"]
    assert main([*options, "--output-dir", "one"]) == 0
    assert len(decodes) == 400
    assert main([*options, "--output-dir", "two"]) == 0
    assert len(decodes) == 400, "they lie decoded in the cache"
    one, two = ((tmp_path / run / "ckpt.pt") for run in ("one", "two"))
    first, second = (torch.load(path, weights_only=True)["weights"] for path in (one, two))
    for network, state in first.items():
        assert all(torch.equal(value, second[network][name]) for name, value in state.items())


def test_a_streamed_run_decodes_no_file_before_it_trains_but_those_of_its_pictures(
    tmp_path: Path, decodes: list[None]
) -> None:
    fill(tmp_path / "in", 200)
    options = ["--placement", "stream", "--workers", "0", "--validation-images", "40"]
    assert main([*FOLDER, *options, "--output-dir", "out"]) == 0
    assert len(decodes) == 32 + 2 * 8, "the originals of its pictures, and two steps"


def test_two_processes_share_one_decoding_and_its_memory(tmp_path: Path) -> None:
    fill(tmp_path / "in", 60)
    launch = [sys.executable, "-m", "accelerate.commands.launch", *processes(2), __file__]
    options = [*FOLDER, *EVALUATED, "--validation-images", "20", "--output-dir", "out"]
    result = run_command([*launch, *options], tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert result.returncode == 0, result.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert [rank["decodes"] for rank in ranks] == [60, 0]
    if sys.platform.startswith("linux"):
        assert all(rank["maps"] for rank in ranks)
        assert ranks[0]["maps"] == ranks[1]["maps"], "both map the same file"
    assert "kept on: device (0.0 MiB on this machine)" in result.stderr


def test_what_one_process_refuses_ends_the_other_with_its_sentence(tmp_path: Path) -> None:
    fill(tmp_path / "in", 8)
    (tmp_path / "in/a/broken.png").write_text("no image")
    launch = [sys.executable, "-m", "accelerate.commands.launch", *processes(2)]
    script = [str(ROOT / "launch/train.py"), *FOLDER, "--output-dir", "out"]
    result = run_command([*launch, *script], tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert "error: 1 of 9 files in in cannot be read as images" in result.stderr
    assert "has lost another" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_processes_that_find_other_files_do_not_train_together(tmp_path: Path) -> None:
    """As where two machines have other copies of a data set."""
    fill(tmp_path / "in", 12)
    fill(tmp_path / "other", 13)
    launch = [sys.executable, "-m", "accelerate.commands.launch", *processes(2), __file__]
    options = [*FOLDER, "--output-dir", "out"]
    result = run_command([*launch, *options], tmp_path, DATA_DIR_OF_RANK_1="other")
    assert "1 of 2 processes find other images to train on than the main one" in result.stderr
    assert not (tmp_path / "out").exists()


def test_files_that_change_are_looked_at_again_and_no_others(
    tmp_path: Path, decodes: list[None]
) -> None:
    folder = fill(tmp_path / "in", 20)

    def opened() -> FolderImages:
        return open_folder(
            folder, size=16, channels=1, check="all", wants=lambda size, shared: False
        )

    opened()
    assert len(decodes) == 20
    opened()
    assert len(decodes) == 20
    Image.new("L", (30, 30), 99).save(folder / "a/0000.png")
    Image.new("L", (30, 30), 99).save(folder / "a/new.png")
    assert len(opened()) == 21
    assert len(decodes) == 22
    (folder / "a/0002.png").write_bytes((folder / "a/0002.png").read_bytes()[:-30])
    with pytest.raises(UserError, match=r"1 of 21 files .* a/0002\.png \(damaged"):
        opened()


def test_decoded_images_follow_their_files(tmp_path: Path, decodes: list[None]) -> None:
    folder = fill(tmp_path / "in", 20)

    def loaded(**options: Any) -> torch.Tensor:
        return open_folder(folder, size=16, channels=1, **options).load_all()

    assert loaded()[0].unique().tolist() == [0]
    Image.new("L", (30, 30), 99).save(folder / "a/0000.png")
    assert loaded()[0].unique().tolist() == [99]
    transparent = Image.new("RGBA", (30, 30), (0, 0, 0, 0))
    transparent.save(folder / "a/0000.png")
    assert loaded()[0].unique().tolist() == [255]
    assert loaded(background="black")[0].unique().tolist() == [0]


@pytest.mark.parametrize("kind", ["scans", "decoded"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "garbage"])
def test_a_damaged_cache_is_reported_and_made_anew(
    tmp_path: Path,
    decodes: list[None],
    caplog: pytest.LogCaptureFixture,
    kind: str,
    damage: str,
) -> None:
    folder = fill(tmp_path / "in", 20)
    before = open_folder(folder, size=16, channels=1).load_all().clone()
    [path] = (tmp_path / "cache/vaegan" / kind).iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    cut = bytes(content[: len(content) // 2])
    damaged = {"flipped": bytes(content), "cut": cut, "garbage": b"?" * 99}
    path.unlink()  # as it is mapped still
    path.write_bytes(damaged[damage])
    after = open_folder(folder, size=16, channels=1).load_all()
    assert torch.equal(before, after)
    assert len(caplog.messages) == 1
    assert "damaged" in caplog.messages[0]
    open_folder(folder, size=16, channels=1)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("obstacle", ["no room", "no folder"])
def test_without_a_cache_images_are_decoded_into_memory_and_that_is_reported(
    tmp_path: Path,
    decodes: list[None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    obstacle: str,
) -> None:
    folder = fill(tmp_path / "in", 20)
    expected = open_folder(folder, size=16, channels=1).load_all().clone()
    shutil.rmtree(tmp_path / "cache")
    if obstacle == "no room":
        full = shutil.disk_usage(tmp_path)._replace(free=2**20)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    else:
        (tmp_path / "cache").write_text("a file of the user's")
    source = open_folder(folder, size=16, channels=1)
    assert torch.equal(source.load_all(), expected)
    assert source.held is not None
    assert not source.held.shared
    assert "Decoded images are not kept" in caplog.messages[0]
    assert not list(tmp_path.glob("cache/**/*.images"))


def test_the_cache_is_bounded_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    for age, name in enumerate(["newest", "used", "old", "oldest"]):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (10**9 - age, 10**9 - age))
    (tmp_path / ".left.tmp").write_bytes(b"x")
    os.utime(tmp_path / ".left.tmp", (10**9, 10**9))
    (tmp_path / ".being-written.tmp").write_bytes(b"x")
    keep_newest(tmp_path, at_most=250)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".being-written.tmp", "newest", "used"]
    keep_newest(tmp_path, at_most=50)
    assert (tmp_path / "newest").exists(), "the newest stays, whatever it takes"
    assert not (tmp_path / "used").exists()


def test_headers_are_checked_by_default_and_all_of_each_file_on_request(
    tmp_path: Path, decodes: list[None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fill(tmp_path / "in", 20)
    cut = folder / "a/0004.png"
    cut.write_bytes(cut.read_bytes()[:-30])
    stream = [*FOLDER, "--placement", "stream", "--workers", "0", "--validation-images", "0"]
    assert main([*stream, "--check-images", "all", "--output-dir", "out"]) == 2
    assert "1 of 20 files in in cannot be read as images: a/0004.png" in capsys.readouterr().err
    assert not Path("out").exists()
    shutil.rmtree(tmp_path / "cache")
    (folder / "b/0001.png").write_text("no image")
    assert main([*stream, "--output-dir", "out"]) == 2
    assert "1 of 20 files in in cannot be read as images: b/0001.png" in capsys.readouterr().err


def test_which_images_are_held_out_does_not_depend_on_which_files_are_broken(
    tmp_path: Path, decodes: list[None]
) -> None:
    folder = fill(tmp_path / "in", 60)
    settings: Any = {"dataset": "folder", "data_dir": "in", "image_size": 16, "bad_images": "skip"}

    def held_out(placement: str) -> set[str]:
        data = DataConfig(validation_images=30, placement=placement, **settings)  # type: ignore[arg-type]
        split = DataSet(data, device=torch.device("cpu")).split
        train, aside = split("train"), split("validation")
        assert isinstance(train, FolderImages)
        assert isinstance(aside, FolderImages)
        names = [{p.relative(i) for i in range(len(p))} for p in (train.files, aside.files)]
        assert not names[0] & names[1]
        assert len(train.load_all()) == len(train)
        return names[1]

    whole = held_out("stream")
    for name in ("a/0004.png", "b/0009.png", "a/0020.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-30])
    assert held_out("stream") == whole, "of which no file has been decoded"
    decoded = held_out("device")
    assert decoded < whole or decoded == whole
    assert len(decoded) >= 27


def test_names_of_files_reach_worker_processes_as_one_text(tmp_path: Path) -> None:
    fill(tmp_path / "in", 300)
    files, _ = list_images(tmp_path / "in")
    paths = sorted(tmp_path.glob("in/*/*.png"))
    assert [files[i] for i in range(len(files))] == paths
    assert len(pickle.dumps(files)) < 300 * 40
    again = pickle.loads(pickle.dumps(files))
    assert again[299] == paths[299]


def count_in_this_process() -> int:
    """A training as one of several processes, which writes down what it decoded and maps."""
    counted: list[None] = []
    with pytest.MonkeyPatch.context() as patch:
        count_decodes(lambda: counted.append(None), patch)
        maps: set[str] = set()
        steps = FolderImages.load

        def load(self: FolderImages) -> Any:
            held = steps(self)
            if sys.platform.startswith("linux"):
                lines = Path("/proc/self/maps").read_text().splitlines()
                maps.update(line.split()[-1] for line in lines if line.endswith(".images"))
            return held

        patch.setattr(FolderImages, "load", load)
        other = os.environ.get("DATA_DIR_OF_RANK_1") if os.environ["RANK"] == "1" else None
        code = main([other if other and word == "in" else word for word in sys.argv[1:]])
    found = {"decodes": len(counted), "maps": sorted(maps)}
    Path(f"rank{os.environ['RANK']}.json").write_text(json.dumps(found))
    return code


if __name__ == "__main__":
    sys.exit(count_in_this_process())
