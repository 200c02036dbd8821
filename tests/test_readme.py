"""README.md and docs/: commands are run here, by another test, or by CI; names and numbers hold."""

import importlib
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.commands import ROOT, as_options, run_command
from vaegan.commands.checkpoint.main import main
from vaegan.recipes import recipe_config
from vaegan.run.length import total_steps

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = re.findall(r"```(bash|python|text)\n(.*?)```", README, flags=re.DOTALL)


def commands_of(page: Path) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


# docs/scaling.md has a test file of its own. A command on several pages is run once.
COMMANDS = list(
    dict.fromkeys(c for page in PAGES if page.name != "scaling.md" for c in commands_of(page))
)
TRAINS = re.compile(r"accelerate launch .*launch/train\.py")
# Those of docs/latent-autoencoders.md have networks that take other sizes.
LAUNCHES = [c for c in COMMANDS if TRAINS.match(c) and "--recipe kl-" not in c]
MEASURES = re.compile(r"python evaluation/(fid|agreement|compare|tune)\.py")
EVALUATIONS = [c for c in COMMANDS if MEASURES.match(c)]
COMPARISON = "evaluation/results/comparison-{}/comparison.{}"

# Commands that are not run here, and where they are.
ELSEWHERE = {
    "pip install -e '.[demo]' && accelerate launch launch/train.py": "test_run.py and .ci/run",
    "pip install -e '.[test]' && pytest": ".ci/run",
    "python evaluation/fid.py ckpt.pt": "test_evaluation.py",
    "python evaluation/fid.py ckpt.pt --extractor efficientnet-lite0 --num-samples 10000 "
    "--json result.json": "test_evaluation.py",
    "python evaluation/fid.py runs/fashion-mnist-32px-vaegan-gated-mixture-conditional-seed0/"
    "ckpt.pt --by-class": "test_conditional.py",
    "python evaluation/agreement.py runs/fashion-mnist-32px-vaegan-gated-mixture-conditional-seed0/"
    "ckpt.pt --json agreement.json": "test_conditional.py",
    "python evaluation/check_extractor.py --dataset fashion-mnist": "test_check_extractor.py",
    "python evaluation/compare.py runs/a/ckpt.pt runs/b/ckpt.pt --output runs/compared": (
        "test_compare.py"
    ),
    "python evaluation/compare.py --dataset fashion-mnist --seconds 300 --seeds 0 1 2 --jobs 2 "
    "--settings evaluation/configurations/fashion-mnist-seconds-chosen.json --extractor "
    "efficientnet-lite0 --num-samples 2000 --reference test --num-reconstructions 500 --output "
    "runs/four-models-seconds -- --precision fp32 --encoder-widths 16 32 64 --encoder-hidden 128 "
    "--decoder-widths 128 64 32 16 --discriminator-stem 8 --discriminator-widths 16 32 64 "
    "--discriminator-hidden 128 --sample-every 1000 --checkpoint-every 50000": "test_compare.py",
    "python evaluation/compare.py --dataset fashion-mnist --images 54000 --seeds 0 "
    "1 2 --jobs 2 --settings "
    "evaluation/configurations/fashion-mnist-seconds-chosen.json --extractor "
    "efficientnet-lite0 --num-samples 2000 --reference test --num-reconstructions "
    "500 --output runs/four-models-images -- --precision fp32 --encoder-widths 16 "
    "32 64 --encoder-hidden 128 --decoder-widths 128 64 32 16 --discriminator-stem "
    "8 --discriminator-widths 16 32 64 --discriminator-hidden 128 --sample-every "
    "1000 --checkpoint-every 50000": "test_compare.py",
    "python evaluation/compare.py --dataset fashion-mnist --images 120000 --seeds 0 1 2 --jobs 2 "
    "--settings evaluation/configurations/fashion-mnist-chosen.json --extractor "
    "efficientnet-lite0 --num-samples 2000 --reference test --num-reconstructions 500 --output "
    "runs/four-models-fashion-mnist -- --recipe normal-prior --batch-size 64 --encoder-widths "
    "16 32 64 --encoder-hidden 128 --decoder-widths 64 64 32 8 --discriminator-stem 8 "
    "--discriminator-widths 16 32 64 --discriminator-hidden 128 --sample-every 1000 "
    "--checkpoint-every 5000": "test_compare.py",
    "python evaluation/fid.py runs/fashion-recipe/ckpt.pt --extractor efficientnet-lite0 "
    "--num-samples 2000 --reference test --num-reference 2000 --num-reconstructions 1000": (
        "test_evaluation.py"
    ),
    "python evaluation/fid.py runs/digits-recipe/ckpt.pt --extractor efficientnet-lite0 "
    "--num-samples 1000 --reference train --num-reference 1000 --num-reconstructions 500": (
        "test_evaluation.py"
    ),
    "python evaluation/fid.py runs/fashion-hour/ckpt.pt --extractor efficientnet-lite0 "
    "--num-samples 10000 --reference test --num-reconstructions 10000": "test_evaluation.py",
    "pytest tests/test_faults.py tests/test_interruption.py tests/test_soundness.py "
    "tests/test_checkpoints.py tests/test_processes.py tests/test_held_out.py": ".ci/run",
    "python evaluation/compare.py --dataset mnist5k --images 200000 --seeds 0 1 2 --extractor "
    "efficientnet-lite0 --num-samples 5000 --output runs/four-models -- --batch-size 64": (
        "test_compare.py"
    ),
    "python evaluation/tune.py evaluation/configurations/fashion-mnist.json --dataset "
    "fashion-mnist --images 80000 --validation-images 5000 --extractor efficientnet-lite0 "
    "--num-samples 5000 --output runs/tuning -- --batch-size 64": "test_tune.py",
    "pytest benchmarks/ --benchmark-only": ".ci/run",
    "python evaluation/fid.py runs/fashion-classes/ckpt.pt --extractor efficientnet-lite0 "
    "--num-samples 2000 --reference validation --num-reconstructions 1000": "test_evaluation.py",
    "python evaluation/agreement.py runs/fashion-classes/ckpt.pt": "test_conditional.py",
    "python evaluation/fid.py ckpt.pt --extractor efficientnet-lite0 --num-samples 2000 "
    "--reference validation --num-reconstructions 1000 --sampler posterior": "test_evaluation.py",
    "vaegan sample runs/fashion-mnist-32px-vaegan-gated-mixture-conditional-seed0/ckpt.pt "
    "--classes sneaker bag": "test_conditional.py",
    "vaegan export ckpt.pt --to folder --output shared": "test_export.py",
    "vaegan export ckpt.pt --to folder --output shared --push USER/NAME": "test_export.py",
    "vaegan export ckpt.pt --to onnx --output onnx": "test_export.py",
    "vaegan export ckpt.pt --to diffusers --output autoencoder": "test_latent_maps.py and .ci/run",
    "accelerate launch launch/train.py --recipe kl-small --dataset folder --data-dir "
    "path/to/crops": ".ci/run",
    "accelerate launch launch/train.py --recipe kl-small --dataset folder --data-dir CROPS "
    "--validation-images 200 --max-steps 300 --precision fp32 --output-dir runs/kl-small": (
        ".ci/run"
    ),
    "python evaluation/fid.py runs/kl-small/ckpt.pt --extractor efficientnet-lite0 "
    "--num-reconstructions 200 --reference validation --num-samples 200": "test_latent_space.py",
    "accelerate launch launch/train.py --recipe kl-small --dataset folder --data-dir CROPS "
    "--image-size 64 --source-size 128 --random-crop 0.25 1 --validation-images 200 "
    "--max-seconds 600 --precision fp32 --output-dir runs/kl-small-128": "test_crops.py",
    "python evaluation/fid.py runs/kl-small-128/ckpt.pt --image-size 128 --extractor "
    "efficientnet-lite0 --num-samples 4 --reference validation --num-reconstructions 200": (
        "test_latent_maps.py"
    ),
    "accelerate launch launch/train.py --recipe kl-f8 --dataset folder --data-dir path/to/crops "
    "--init-from path/to/autoencoder": "test_latent_maps.py",
    "python -m benchmarks.record --dataset fashion-mnist --target 30 --seeds 0 1 2 --max-seconds "
    "600 --output runs/record": "test_record.py",
    "python -m benchmarks.record --dataset fashion-mnist --target 60 --seeds 0 1 2 --max-seconds "
    "180 --evaluations 6 --eval-samples 1000 --only gated-mixture larsen2016 seed gan pythae-same "
    "pythae --output benchmarks/results/record-fashion-mnist -- --encoder-widths 16 32 64 "
    "--encoder-hidden 128 --decoder-widths 128 64 32 16 --discriminator-stem 8 "
    "--discriminator-widths 16 32 64 --discriminator-hidden 128": "test_record.py",
    "python -m benchmarks.record --target 60 --max-seconds 120 --only gated-mixture gan --output "
    "runs/record-batch-128 -- --batch-size 128": "test_record.py",
    "accelerate launch -m vaegan encode ckpt.pt path/to/images --shards image-latents --dtype "
    "bf16": "test_latent_set.py",
    "python evaluation/fid.py ckpt.pt --latent-check --lpips": "test_latent_space.py",
    "vaegan report runs/digits": "test_report.py",
    "python -m benchmarks.defects": "test_defects.py",
    "python -m benchmarks.autoencoders --dataset folder --data-dir CROPS --seeds 0 1 "
    "--max-seconds 300 --evaluations 6 --disc-start 150 --eval-samples 200 --output "
    "runs/autoencoders": "test_public_trainers.py",
    "python -m benchmarks.recipe_cost --recipes mixture-prior gated-mixture --batches 64 128 256 "
    "512 --rounds 5": "test_recipe_cost.py",
    "python -m benchmarks.recipe_cost --recipes normal-prior mixture-prior --batches 64 128 256 "
    "512 --rounds 5": "test_recipe_cost.py",
    "python -m benchmarks.autoencoder_cost --recipe kl-f8 --measure": "test_public_trainers.py",
    "python evaluation/attributes.py runs/vae/ckpt.pt runs/vae-dis/ckpt.pt runs/gan/ckpt.pt "
    "runs/vaegan/ckpt.pt --output runs/attributes": "test_attributes.py",
}
USES = [c for c in COMMANDS if c.startswith("vaegan ") and c not in ELSEWHERE]

SMALL = as_options(
    encoder_widths=(4, 4, 4),
    encoder_hidden=8,
    decoder_widths=(4, 4, 4, 4),
    discriminator_stem=4,
    discriminator_widths=(4, 4, 4),
    discriminator_hidden=8,
    batch_size=4,
    tracker="none",
)


def test_every_command_is_run_somewhere() -> None:
    assert len(LAUNCHES) >= 6
    assert {c for c in COMMANDS if c not in [*LAUNCHES, *USES]} == set(ELSEWHERE)
    for place in ELSEWHERE.values():
        for file in re.findall(r"test_\w+\.py", place):
            assert (ROOT / "tests" / file).exists(), file
    ci = (ROOT / ".ci/run").read_text()
    for command in ("pytest -q", "pytest benchmarks/ --benchmark-only", "launch/train.py"):
        assert command in ci


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the data that the README speaks of lies."""
    from tests.support.dataset_files import write_cifar, write_idx

    where = tmp_path_factory.mktemp("readme")
    write_cifar(where / "data", "py")
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        raw = where / "data/FashionMNIST/raw"
        write_idx(raw / f"{split}-images-idx3-ubyte", rng.integers(0, 256, (16, 28, 28)))
        write_idx(raw / f"{split}-labels-idx1-ubyte", rng.integers(0, 10, 16))
    for folder in (where / "path/to/images", where / "ICONS", where / "CROPS"):
        folder.mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(0, 256, (50, 70 + index, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    (where / "path/to/images/broken.png").write_text("no image")
    return where


@pytest.mark.parametrize("command", LAUNCHES)
def test_command_works(command: str, data: Path) -> None:
    """As it stands but for its length, the widths of its networks, and CPUs instead of GPUs."""
    words = shlex.split(command.replace("launch/train.py", str(ROOT / "launch/train.py")))
    if "--resume" in words:
        out = data / "runs/fashion-mnist-32px-vaegan-gated-mixture-seed0"
        assert (out / "ckpt.pt").exists(), "the command before it has made the run"
        words[words.index("--epochs") + 1] = "1"
        words += ["--tracker", "none"]
    elif "--dry-run" not in words:
        words += SMALL
        steps = "8" if "--profile" in words else "2"
        if "--max-steps" in words:
            words[words.index("--max-steps") + 1] = steps
        else:
            words += ["--max-steps", steps]
        if "--eval-every" in words:
            words += ["--eval-samples", "8"]
        if "--validation-images" in words:
            words[words.index("--validation-images") + 1] = "2"
    result = run_command(words, data, ACCELERATE_USE_CPU="true", PATH=os.environ["PATH"])
    assert result.returncode == 0, result.stderr[-3000:]
    if "bf16" in words:
        assert re.search(r"2 process\(es\) on cpu.*precision\s+bf16", result.stderr)
    if "--resume" in words:
        assert "Resuming" in result.stderr
        assert "Done: 4 steps" in result.stderr


@pytest.fixture(scope="module")
def checkpoint_and_images(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that commands for a trained model name."""
    where = tmp_path_factory.mktemp("using")
    shutil.copy(tiny_run / "out/ckpt.pt", where)
    (where / "path/to/images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("photo.jpg", "other.jpg", "path/to/images/a.png", "path/to/images/b.png"):
        Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(where / name)
    return where


@pytest.mark.parametrize("command", USES)
def test_command_for_a_trained_model_works(
    command: str, checkpoint_and_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands, in this process."""
    place = shutil.copytree(checkpoint_and_images, tmp_path / "place")
    monkeypatch.chdir(place)
    assert main(shlex.split(command)[1:]) == 0
    words = shlex.split(command)
    for option in ("--output", "--images-to", "--shards"):
        if option in words:
            assert (place / words[words.index(option) + 1]).exists()


def test_python_for_a_trained_model_works(
    checkpoint_and_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/using.md").read_text()
    monkeypatch.chdir(checkpoint_and_images)
    names: dict[str, torch.Tensor] = {}
    for example in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(example, names)
    assert names["row"].shape == (8, 1, 16, 16)
    assert names["film"].shape == (80, 16, 1, 16, 16)


def test_python_example_works(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = [block for kind, block in BLOCKS if kind == "python"]
    run = data / "runs/fashion-mnist-32px-vaegan-gated-mixture-seed0"
    monkeypatch.chdir(run)
    names: dict[str, torch.Tensor] = {}
    exec(example, names)
    assert names["x_rec"].shape == names["x_gen"].shape == (16, 1, 32, 32)


@pytest.mark.parametrize("command", EVALUATIONS)
def test_evaluation_command_is_understood(command: str) -> None:
    """By its own parser; options behind -- are those of training."""
    _, script, *words = shlex.split(command)
    own = words[: words.index("--")] if "--" in words else words
    module = importlib.import_module(f"evaluation.{Path(script).stem}")
    module.parser().parse_args(own)
    for word in own:
        assert not word.startswith("evaluation/") or (ROOT / word).exists(), word


def test_pictures_and_files_that_they_name_exist() -> None:
    for page in PAGES:
        targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"", page.read_text())
        local = [a or b for a, b in targets if not (a or b).startswith("http")]
        assert local or page.name in ("recipe.md",), page
        for target in local:
            assert (page.parent / target).exists(), f"{target} in {page.name}"


def test_sections_that_links_point_to_exist() -> None:
    for page in PAGES:
        for target, section in re.findall(r"\]\(([^)#]*)#([^)]+)\)", page.read_text()):
            linked = (page.parent / target if target else page).read_text()
            titles = [title.lower() for title in re.findall(r"^#+ (.*)$", linked, flags=re.M)]
            names = [re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles]
            assert section in names, f"{target}#{section} in {page.name}"


def test_files_that_a_batch_meets_exist() -> None:
    [tree] = [block for kind, block in BLOCKS if kind == "text" and ".py" in block]
    files = re.findall(r"^(\S+\.py) ", tree, flags=re.M)
    assert len(files) >= 10
    assert [file for file in files if not (ROOT / "vaegan" / file).exists()] == []


def test_readme_is_short() -> None:
    assert len(README.split()) <= 1100


@pytest.mark.parametrize(
    ("results", "title", "page"),
    [
        ("fashion-mnist-seconds", "", "README.md"),
        ("fashion-mnist-images", "", "docs/evaluation.md"),
        ("fashion-mnist", "Fashion-MNIST, ", "docs/evaluation.md"),
        ("mnist5k", "digits, ", "docs/evaluation.md"),
    ],
)
def test_results_are_the_committed_ones(results: str, title: str, page: str) -> None:
    table = (ROOT / COMPARISON.format(results, "md")).read_text()
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    rows = [row[1:-1] for row in rows if len(row) == 14]
    columns = ["FD ↓", "precision ↑", "recall ↑", "reconstruction FD ↓", "PSNR, dB ↑"]
    places = [rows[0].index(name) for name in columns]
    assert len(rows) == 6
    for row in rows[2:]:
        numbers = [row[place].replace(" ± ", "±") for place in places]
        seconds = f"{float(row[-1].split(' ')[0]):.0f} s"
        line = "|".join(["", f"{title}{row[0]}", *numbers, seconds, ""])
        assert line in (ROOT / page).read_text(), row[0]


@pytest.mark.parametrize(
    ("results", "page"),
    [
        ("fashion-mnist-seconds", "README.md"),
        ("fashion-mnist-images", "docs/evaluation.md"),
        ("fashion-mnist", "docs/evaluation.md"),
    ],
)
def test_command_of_the_results_is_the_committed_one(results: str, page: str) -> None:
    table = (ROOT / COMPARISON.format(results, "md")).read_text()
    commands = [c for c in commands_of(ROOT / page) if "evaluation/compare.py" in c]
    # Where it names this recipe, that was the default then.
    assert any(f"`{c.replace('--recipe normal-prior ', '')}`" in table for c in commands)


def test_the_record_of_the_page_is_the_committed_one() -> None:
    record = (ROOT / "benchmarks/results/record-fashion-mnist/record.md").read_text()
    page = (ROOT / "docs/record.md").read_text()
    rows = [line.split(" | ") for line in record.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 6
    for row in rows[2:]:
        assert f"\n{' | '.join(row[:5])} |\n" in page, row[0]
    assert any(f"`{command}`" in record for command in commands_of(ROOT / "docs/record.md"))


def test_steps_and_images_are_those_that_the_commands_train() -> None:
    """What the README has each training end with, for 4,500 digits and 50,000 of CIFAR-10."""
    for dataset, images in (("mnist5k", 4500), ("cifar10", 50_000)):
        config = recipe_config(dataset=dataset)  # type: ignore[arg-type]
        steps = total_steps(config, images, config.training.batch_size)
        assert f"Done: {steps:,} steps, {steps * config.training.batch_size:,} images." in README
