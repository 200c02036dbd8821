"""The command `vaegan` and the Python that it calls, on one tiny run.

tests/test_readme.py runs the commands of docs/using.md.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

import vaegan
from tests.support.tiny import tiny_config
from vaegan.commands.checkpoint.main import main
from vaegan.commands.checkpoint.registry import SUBCOMMANDS
from vaegan.data.folder import open_folder
from vaegan.data.images import to_network_range, to_uint8
from vaegan.files.checkpoint import INFERENCE_FORMAT, write_file
from vaegan.latent_paths import Mode, closed_walk, path_between
from vaegan.models import model_networks


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path) -> str:
    return str(tiny_run / "out/ckpt.pt")


@pytest.fixture(scope="module")
def model(checkpoint: str) -> vaegan.VAEGAN:
    return vaegan.load(checkpoint)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pictures(place: Path) -> Path:
    """Five pictures of several sizes and modes in two class folders."""
    rng = np.random.default_rng(0)
    for name, shape in {
        "cats/2.png": (40, 30, 3),
        "cats/10.jpg": (20, 50, 3),
        "cats/a.png": (16, 16),
        "dogs/1.png": (64, 64, 4),
        "dogs/0.png": (33, 17, 3),
    }.items():
        path = place / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return place / "pictures"


def tiles(path: Path, columns: int, size: int = 16) -> np.ndarray:
    """The images of a grid of 16-pixel images: uint8 [rows,columns,16,16]."""
    grid = np.asarray(Image.open(path).convert("L"))
    factor = grid.shape[1] // (columns * (size + 1) + 1)
    grid = grid[::factor, ::factor][1:, 1:]
    rows = len(grid) // (size + 1)
    return grid.reshape(rows, size + 1, columns, size + 1)[:, :-1, :, :-1].swapaxes(1, 2)


def test_help_has_a_line_for_each_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for name in SUBCOMMANDS:
        assert any(line.split()[:1] == [name] and len(line.split()) > 2 for line in lines), name


def test_info_has_the_facts_of_the_run(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", checkpoint, "--json", "-"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["step"], facts["images_seen"], facts["image_size"]) == (2, 16, 16)
    assert facts["changed"]["latent_size"] == {"value": 6, "recipe": 32}
    assert "seed" not in facts["changed"]
    assert facts["environment"]["steps"] == 2


def test_info_has_the_best_evaluation(
    tmp_path: Path, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    best = {k: v for k, v in content.items() if k not in ("format", "version")}
    record = {"frechet_distance": 12.5, "num_samples": 99, "names": {"frechet_distance": "FID"}}
    write_file(tmp_path / "ckpt.pt", INFERENCE_FORMAT, {**best, "step": 9})
    write_file(tmp_path / "best.pt", INFERENCE_FORMAT, {**best, "evaluation": record})
    assert main(["info", str(tmp_path / "ckpt.pt")]) == 0
    assert "FID 12.5 of 99 samples at step 2" in capsys.readouterr().out


def test_a_grid_has_the_samples_of_its_seed(
    checkpoint: str, model: vaegan.VAEGAN, place: Path
) -> None:
    assert main(["sample", checkpoint, "--count", "10", "--seed", "3"]) == 0
    found = tiles(place / "samples.png", 8).reshape(16, 16, 16)
    np.testing.assert_array_equal(found[:10], to_uint8(model.sample(10, seed=3))[:, 0])


def test_more_samples_than_a_batch_are_written_one_by_one(
    checkpoint: str, model: vaegan.VAEGAN, place: Path
) -> None:
    assert main(["sample", checkpoint, "--count", "300", "--images-to", "many"]) == 0
    paths = sorted((place / "many").iterdir())
    assert [path.name for path in paths] == [f"{i:05d}.png" for i in range(300)]
    found = np.stack([np.asarray(Image.open(path)) for path in paths])
    np.testing.assert_array_equal(found, to_uint8(model.sample(300))[:, 0])
    assert not (place / "samples.png").exists()


def test_raw_weights_give_other_samples(checkpoint: str, place: Path) -> None:
    assert main(["sample", checkpoint, "--output", "a.png"]) == 0
    assert main(["sample", checkpoint, "--output", "b.png", "--weights", "raw"]) == 0
    assert (place / "a.png").read_bytes() != (place / "b.png").read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "--output", "{}.png"],
        ["interpolate", "--between", "1", "2", "--output", "{}.png"],
        ["walk", "--count", "2", "--frames", "5", "--output", "{}.gif"],
        ["walk", "--count", "2", "--frames", "5", "--output", "{}.mp4"],
        ["reconstruct", "pictures", "--count", "3", "--output", "{}.png"],
        ["encode", "pictures", "--output", "{}.npz"],
        ["encode", "pictures", "--output", "{}.parquet"],
    ],
    ids=lambda words: f"{words[0]}{Path(words[-1]).suffix}",
)
def test_the_same_seed_gives_the_same_bytes(
    words: list[str], checkpoint: str, pictures: Path
) -> None:
    for name in ("a", "b"):
        assert main([words[0], checkpoint, *(word.format(name) for word in words[1:])]) == 0
    ending = Path(words[-1]).suffix
    a, b = (Path(f"{name}{ending}").read_bytes() for name in ("a", "b"))
    assert a == b


def test_originals_are_above_their_reconstructions(
    checkpoint: str, model: vaegan.VAEGAN, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reconstruct", checkpoint, "pictures"]) == 0
    x = model.read_images(sorted(path for path in pictures.rglob("*.*")))
    found = tiles(Path("reconstructions.png"), 5)
    np.testing.assert_array_equal(found[0], to_uint8(x)[:, 0])
    rounded = to_uint8(model.reconstruct(x))[:, 0]
    assert np.abs(found[1].astype(int) - rounded.numpy()).max() <= 1
    error = (found[0].astype(float) - found[1]) ** 2
    psnr = (10 * np.log10(255**2 / error.mean((1, 2)))).mean()
    assert f"PSNR of 5 images: {psnr:.2f} dB" in capsys.readouterr().err


def test_images_are_read_as_those_of_a_training_folder(
    model: vaegan.VAEGAN, pictures: Path
) -> None:
    folder = open_folder(pictures, size=16, channels=1).load_all()
    paths = [pictures / name for name in ("cats/10.jpg", "cats/2.png", "cats/a.png")]
    assert torch.equal(model.read_images(paths), to_network_range(folder[:3]))
    assert model.read_images(str(paths[0])).shape == (1, 1, 16, 16)


def test_the_ends_of_an_interpolation_are_those_of_its_images(
    model: vaegan.VAEGAN, pictures: Path
) -> None:
    a, b = model.read_images([pictures / "cats/2.png", pictures / "dogs/1.png"])
    for mode in get_args(Mode):
        row = model.interpolate(a, b, steps=5, mode=mode)
        assert row.shape == (5, 1, 16, 16)
        torch.testing.assert_close(row[[0, -1]], model.reconstruct(torch.stack([a, b])))


def test_the_ends_of_an_interpolation_are_the_samples_of_its_seeds(model: vaegan.VAEGAN) -> None:
    row = model.interpolate(1, 2)
    assert row.shape == (8, 1, 16, 16)
    torch.testing.assert_close(row[[0]], model.sample(1, seed=1))
    torch.testing.assert_close(row[[-1]], model.sample(1, seed=2))
    z = model.draw_latents(3, 5)
    many = model.interpolate(z, z[0], steps=2)
    assert many.shape == (3, 2, 1, 16, 16)
    torch.testing.assert_close(many[:, 0], model.decode(z))


def test_a_spherical_path_changes_norm_and_angle_evenly() -> None:
    a, b = torch.randn(2, 3, 40, generator=torch.Generator().manual_seed(0))
    b = b * 1.7
    path = path_between(a, b, 9).double()
    even = torch.linspace(0, 1, 9, dtype=torch.float64)
    ends = a.double().norm(dim=1, keepdim=True), b.double().norm(dim=1, keepdim=True)
    torch.testing.assert_close(path.norm(dim=2), ends[0].lerp(ends[1], even), rtol=1e-5, atol=0)
    angles = torch.cosine_similarity(path[:, 1:], path[:, :-1], dim=2).acos()
    torch.testing.assert_close(
        angles, angles.mean(1, keepdim=True).expand(-1, 8), rtol=1e-3, atol=0
    )
    straight = path_between(a, b, 9, "linear")
    torch.testing.assert_close(straight[:, 4], (a + b) / 2)


def test_a_spherical_path_without_an_angle_is_straight() -> None:
    z = torch.tensor([[3.0, 4.0]])
    for end in (z * 2, -z, z * 0, z):
        torch.testing.assert_close(path_between(z, end, 4), path_between(z, end, 4, "linear"))


def test_a_walk_ends_where_it_began(model: vaegan.VAEGAN) -> None:
    z = torch.stack(list(closed_walk(500, (6,), frames=24, seed=4)))
    steps = (z.roll(-1, dims=0) - z).norm(dim=2)  # the last one leads from the end to the start
    assert (steps[-1] <= steps[:-1].max(0).values + 1e-5).all()
    assert (steps[-1] >= steps[:-1].min(0).values - 1e-5).all()
    assert abs(float(z.std(dim=1).mean()) - 1) < 0.05  # every frame is a draw from N(0, I)
    first = next(model.walk(3, frames=24, seed=4))
    torch.testing.assert_close(first, model.sample(3, seed=4))


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_film_has_its_frames(ending: str, checkpoint: str, place: Path) -> None:
    output = f"film.{ending}"
    words = ["--count", "5", "--frames", "7", "--fps", "10", "--output", output]
    assert main(["walk", checkpoint, *words]) == 0
    assert [path.name for path in place.iterdir()] == [output]
    if ending == "gif":
        with Image.open(place / output) as film:
            assert getattr(film, "n_frames", 1) == 7
            assert (film.info["loop"], film.info["duration"]) == (0, 100)
    else:
        import imageio_ffmpeg

        assert imageio_ffmpeg.count_frames_and_secs(str(place / output)) == (7, 0.7)


def test_colours_of_a_film_stay(place: Path) -> None:
    from vaegan.commands.checkpoint.film import write_film

    frames = [np.full((20, 30, 3), (200, shade, 40), np.uint8) for shade in range(0, 120, 20)]
    write_film(place / "film.gif", frames, 20)
    with Image.open(place / "film.gif") as film:
        for index, frame in enumerate(frames):
            film.seek(index)
            found = np.asarray(film.convert("RGB"))
            assert found.shape[1] >= 512
            assert np.abs(found[0, 0].astype(int) - frame[0, 0]).max() <= 2


def test_latents_are_those_of_the_files_in_their_order(
    checkpoint: str, model: vaegan.VAEGAN, pictures: Path
) -> None:
    import pyarrow.parquet

    for output in ("latents.npz", "latents.parquet"):
        assert main(["encode", checkpoint, "pictures", "--output", output]) == 0
    found = np.load("latents.npz")
    names = ["cats/10.jpg", "cats/2.png", "cats/a.png", "dogs/0.png", "dogs/1.png"]
    assert found["names"].tolist() == names
    assert found["labels"].tolist() == [0, 0, 0, 1, 1]
    assert found["class_names"].tolist() == ["cats", "dogs"]
    mu, logvar = model.encode(model.read_images([pictures / name for name in names]))
    np.testing.assert_allclose(found["mu"], mu, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["logvar"], logvar, rtol=1e-4, atol=1e-5)
    table = pyarrow.parquet.read_table("latents.parquet").to_pydict()
    assert table["name"] == names
    assert table["class"] == ["cats"] * 3 + ["dogs"] * 2
    np.testing.assert_array_equal(table["mu"], found["mu"])


def test_latents_of_a_split_have_its_labels(checkpoint: str, place: Path) -> None:
    assert main(["encode", checkpoint]) == 0
    found = np.load("latents.npz")
    assert found["mu"].shape == (500, 6)
    assert np.bincount(found["labels"]).tolist() == [50] * 10
    assert "names" not in found


def test_images_in_batches_have_the_same_latents(model: vaegan.VAEGAN) -> None:
    x = model.sample(7)
    for found, expected in zip(model.encode_batches(x.split(3)), model.encode(x), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The ckpt.pt of an untrained GAN."""
    config = tiny_config(model="gan")
    weights = {name: m.state_dict() for name, m in model_networks(config).by_name().items()}
    path = tmp_path_factory.mktemp("gan") / "ckpt.pt"
    content = {"config": config.to_dict(), "weights": weights, "ema": {}}
    write_file(path, INFERENCE_FORMAT, {**content, "step": 0, "images_seen": 0})
    return str(path)


def test_a_gan_samples_and_walks(gan: str, place: Path) -> None:
    assert main(["sample", gan]) == 0
    assert main(["interpolate", gan, "--between", "0", "1"]) == 0
    assert main(["walk", gan, "--frames", "2"]) == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sample", "arguments are required: checkpoint"),
        ("sample gone.pt", "There is no checkpoint gone.pt"),
        ("sample text.png", "not a checkpoint that can be read"),
        ("info gone.pt", "There is no checkpoint gone.pt"),
        ("info CKPT --json taken.json", "exists and is not replaced"),
        ("sample CKPT --count 0", "--count 0 is not allowed: it must be 1 or more"),
        ("sample CKPT --count few", "invalid int value"),
        ("sample CKPT --count 900000", "too large to look at"),
        ("sample CKPT --seed 1.5", "invalid int value"),
        ("sample CKPT --seed -1", "--seed -1 is not allowed"),
        ("sample CKPT --output new.jpg", "does not end in .png"),
        ("sample CKPT --output none/new.png", "make none first"),
        ("sample CKPT --output taken.png", "exists and is not replaced"),
        ("sample CKPT --images-to full", "is not an empty folder"),
        ("sample CKPT --images-to taken.png", "is not an empty folder"),
        ("sample CKPT --device abacus", "--device abacus is not a device"),
        ("sample CKPT --data-dir here", "no effect without --sampler gmm"),
        ("sample GAN --sampler gmm", "has no encoder"),
        ("reconstruct GAN", "has no encoder"),
        ("encode GAN", "has no encoder"),
        ("interpolate GAN --between 1 full/a.png", "has no encoder"),
        ("reconstruct CKPT text.png", "text.png cannot be read as an image (not an image)"),
        ("reconstruct CKPT gone.png", "There is no gone.png"),
        ("reconstruct CKPT empty", "empty holds no image files"),
        ("reconstruct CKPT bad", "1 of 2 files in bad cannot be read as images"),
        ("reconstruct CKPT full --split test", "give one of the two"),
        ("encode CKPT bad", "1 of 2 files in bad cannot be read as images"),
        ("encode CKPT full --output new.csv", "does not end in .npz or .parquet"),
        ("interpolate CKPT --between 1", "expected 2 arguments"),
        ("interpolate CKPT --between 1 1.5", "1.5 is neither a file nor an integer"),
        ("interpolate CKPT --between 1 text.png", "cannot be read as an image"),
        ("interpolate CKPT --between 1 2 --steps 1", "--steps 1 is not allowed"),
        ("walk CKPT --frames 1", "--frames 1 is not allowed"),
        ("walk CKPT --fps 51", "--fps 51 is not allowed"),
        ("walk CKPT --output new.avi", "does not end in .gif or .mp4"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    words: str,
    expected: str,
    checkpoint: str,
    gan: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder in ("empty", "full", "bad"):
        (place / folder).mkdir()
    for name in ("full/a.png", "bad/a.png", "taken.png"):
        Image.new("L", (20, 20)).save(name)
    for name in ("text.png", "bad/b.png", "taken.json"):
        Path(name).write_text("no image")
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    paths = {"CKPT": checkpoint, "GAN": gan}
    assert main([paths.get(word, word) for word in words.split()]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert expected in lines[-1]
    assert lines[-1].startswith(f"vaegan {words.split()[0]}: error: ")
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


def test_bad_files_are_skipped_on_request(checkpoint: str, pictures: Path) -> None:
    (pictures / "cats/20.png").write_bytes((pictures / "cats/2.png").read_bytes()[:500])
    assert main(["encode", checkpoint, "pictures", "--bad-images", "skip"]) == 0
    assert len(np.load("latents.npz")["names"]) == 5


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (lambda model: model.sample(0), "count 0 is not allowed"),
        (lambda model: model.sample(2, seed=0.5), "seed 0.5 is not allowed"),
        (lambda model: model.interpolate(0, 1, steps=1), "steps 1 is not allowed"),
        (lambda model: model.interpolate(0, 1, mode="round"), "mode round is not allowed"),
        (lambda model: model.interpolate(0, torch.zeros(5)), "no end of an interpolation"),
        (lambda model: model.walk(frames=1), "frames 1 is not allowed"),
        (lambda model: model.encode(torch.zeros(2, 3, 16, 16)), "do not fit this model"),
        (lambda model: model.encode(torch.zeros(2, 1, 16, 16, dtype=torch.uint8)), "do not fit"),
        (lambda model: model.read_images("gone.png"), "gone.png cannot be read"),
        (lambda model: vaegan.mixture_of(model.encode(model.sample(19))), "20 images or more"),
    ],
)
def test_python_refuses_in_a_sentence(
    use: Callable[[vaegan.VAEGAN], object], expected: str, model: vaegan.VAEGAN
) -> None:
    with pytest.raises(vaegan.UserError, match=expected):
        use(model)
