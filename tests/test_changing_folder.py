"""A folder whose images break, shrink or go away while a run reads them."""

import gc
import re
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.support.tiny import TINY_OPTIONS, noise_for
from vaegan.batch import Partition
from vaegan.commands.train import main
from vaegan.config import DataConfig
from vaegan.data import BatchOrder, Loader
from vaegan.data.folder import FolderImages, open_folder
from vaegan.errors import UserError

CPU = torch.device("cpu")
DAMAGE = {
    "removed": lambda path: path.unlink(),
    "garbage": lambda path: path.write_bytes(b"garbage" * 99),
    "shrunk": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "emptied": lambda path: path.write_bytes(b""),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten grey squares in two classes, each of its own brightness, so that it is recognised."""
    monkeypatch.chdir(tmp_path)
    for index in range(10):
        path = tmp_path / "in" / "ab"[index // 5] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20), 20 * index).save(path)
    return tmp_path / "in"


def source(folder: Path, bad_images: str) -> FolderImages:
    return open_folder(
        folder, size=16, channels=1, bad_images=bad_images, wants=lambda size, shared: False
    )


def streamed(images: FolderImages, workers: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One epoch's brightness and labels, in the order in which they are trained on."""
    data = DataConfig(dataset="folder", placement="stream", workers=workers, image_size=16)
    batches = list(
        Loader(images, BatchOrder(10, Partition(5), seed=0), noise_for(5), data, CPU).steps(0, 2)
    )
    grey = torch.cat([b.images.amax((1, 2, 3)) for b in batches]).add(1).mul(127.5).round().int()
    return grey // 20, torch.cat([b.labels for b in batches if b.labels is not None])


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_next_image_takes_the_place_with_its_own_label_and_is_counted(
    folder: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    images = source(folder, "skip")
    before, _ = streamed(images, 0)
    for name in ("a/4.png", "b/9.png"):
        DAMAGE[damage](folder / name)
    after, labels = streamed(images, 0)
    expected = before.clone()
    expected[before == 4], expected[before == 9] = 5, 0
    assert torch.equal(after, expected)
    assert torch.equal(labels, (expected >= 5).long())
    assert len(caplog.messages) == 2
    assert "2 of 10 so far" in caplog.messages[1]
    streamed(images, 0)
    assert len(caplog.messages) == 2, "each is reported once"


def test_loaded_into_memory_or_streamed_the_same_images_are_taken(folder: Path) -> None:
    resident, stream = source(folder, "skip"), source(folder, "skip")
    DAMAGE["garbage"](folder / "a/4.png")
    data = DataConfig(dataset="folder", placement="device", image_size=16)
    loader = Loader(resident, BatchOrder(10, Partition(5), seed=0), noise_for(5), data, CPU)
    batches = list(loader.steps(0, 2))
    grey = torch.cat([b.images.amax((1, 2, 3)) for b in batches]).add(1).mul(127.5).round().int()
    labels = torch.cat([b.labels for b in batches if b.labels is not None])
    assert torch.equal(grey // 20, streamed(stream, 0)[0])
    assert torch.equal(labels, streamed(stream, 0)[1])


@pytest.mark.parametrize("placement", ["stream", "device"])
def test_a_refused_image_is_named_by_its_reader_not_by_a_traceback(
    folder: Path, placement: str
) -> None:
    images = source(folder, "refuse")
    DAMAGE["shrunk"](folder / "b/7.png")
    data = DataConfig(dataset="folder", placement=placement, workers=0, image_size=16)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=re.escape("b/7.png cannot be read")) as caught:
        list(
            Loader(images, BatchOrder(10, Partition(5), seed=0), noise_for(5), data, CPU).steps(
                0, 2
            )
        )
    assert "damaged" in str(caught.value)
    assert "--bad-images skip" in str(caught.value)


def test_a_folder_that_goes_away_ends_in_a_sentence_though_bad_images_are_skipped(
    folder: Path,
) -> None:
    images = source(folder, "skip")
    for path in folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match="None of the images in"):
        streamed(images, 0)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # of machines with one core
def test_what_a_worker_process_refuses_arrives_as_its_sentence_alone(folder: Path) -> None:
    images = source(folder, "refuse")
    DAMAGE["garbage"](folder / "a/2.png")
    with pytest.raises(UserError) as caught:
        streamed(images, 1)
    assert str(caught.value).startswith(f"{folder}/a/2.png cannot be read")
    assert "Traceback" not in str(caught.value)


def test_a_run_that_meets_a_broken_image_ends_with_exit_code_2_and_keeps_its_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, seen = FolderImages.read, []

    def breaking(self: FolderImages, index: int) -> tuple[int, torch.Tensor]:
        seen.append(index)
        if len(seen) == 8 + 3 * 8:  # the pictures' originals, then three steps
            DAMAGE["shrunk"](self.files[index])
        return read(self, index)

    monkeypatch.setattr(FolderImages, "read", breaking)
    options = ["--dataset", "folder", "--data-dir", "in", "--placement", "stream", "--workers", "0"]
    options += ["--max-steps", "9", "--validation-images", "2", "--checkpoint-every", "1"]
    code = main([*TINY_OPTIONS, *options, "--output-dir", str(folder.parent / "out")])
    gc.collect()  # with the trainer goes its writer, which ends once everything is written
    for thread in threading.enumerate():
        if thread.name.startswith("vaegan-writer"):
            thread.join(10)
    said = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert code == 2
    assert len(said) == 1
    assert "cannot be read (damaged" in said[0]
    assert list((folder.parent / "out/checkpoints").glob("step-*.pt")), "what was reached is kept"
