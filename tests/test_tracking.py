"""Trackers record what they should, and never stand in training's way."""

import json
import os
import shutil
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
import yaml
from PIL import Image

from tests.support.commands import ROOT, run_command
from tests.support.forked import Forked
from tests.support.tiny import TINY_OPTIONS, tiny_config
from tests.support.wandb_file import WandbFile
from tests.test_run import metrics
from vaegan.commands.train_options import parse
from vaegan.files.checkpoint import read_inference_file
from vaegan.run.run_folder import RunFolder
from vaegan.run.tracking import Guarded, NoTracker, build_tracker, check_tracker
from vaegan.run.wandb_server import why_offline

RECONSTRUCTED = "reconstructions"
SWEEP = yaml.safe_load((ROOT / "launch/sweep.yaml").read_text())
TRIED = {"lr": 0.001, "pixel-weight": 0.3, "beta": 5}
TINY_SWEEP = [
    *(*TINY_OPTIONS, "--tracker", "wandb", "--max-steps", "4", "--log-every", "2"),
    *("--eval-every", "2", "--eval-samples", "8"),
]


def agents_command(values: dict[str, Any]) -> list[str]:
    """The words that `wandb agent` starts for these values, by the functions that it uses."""
    from wandb.sdk.launch.sweeps import utils

    given = {"args": {name: {"value": value} for name, value in values.items()}}
    options = utils.create_sweep_command_args(given)["args"]
    words = utils.create_sweep_command(list(SWEEP["command"]))
    return [word for each in words for word in (options if each == "${args}" else [each])]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, forked: Forked) -> tuple[Path, str]:
    """The folder of a run of the sample sweep, tiny and without a network; what it has logged.

    The shell of the sweep's command finds an `accelerate` that prints what it is asked.
    """
    where = tmp_path_factory.mktemp("swept")
    printing = where / "accelerate"
    printing.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    printing.chmod(0o700)
    asked = {name: {"value": value} for name, value in TRIED.items()}
    (where / "parameters.yaml").write_text(yaml.safe_dump({"wandb_version": 1, **asked}))
    variables = {
        "NETRC": str(where / "no-netrc"),
        "WANDB_API_KEY": "0" * 40,
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "WANDB_SWEEP_ID": "sweep1",
        "WANDB_RUN_ID": "a1b2c3d4",
        "WANDB_SWEEP_PARAM_PATH": str(where / "parameters.yaml"),
    }
    path = f"{where}:{os.environ['PATH']}"
    printed = run_command(agents_command(TRIED), where, **{**variables, "PATH": path}).stdout
    launch, script, *options = printed.splitlines()
    assert (launch, script) == ("launch", "launch/train.py")
    [ended] = forked(*options, *TINY_SWEEP, cwd=where, inject={"set_variables": [variables]})
    assert ended.returncode == 0, ended.stderr[-3000:]
    return where / "runs/sweep/a1b2c3d4", ended.stderr


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "no login found"),
        # A login, and a server that nobody answers for.
        (
            {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"},
            "127.0.0.1 cannot be reached",
        ),
    ],
)
def test_why_wandb_goes_offline_is_known_without_asking_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert reason in str(why_offline())


class Proxy(ThreadingHTTPServer):
    """A proxy on this machine, which answers every CONNECT with `status` and notes it."""

    def __init__(self, status: int) -> None:
        asked = self.asked = []  # type: list[tuple[str, str | None]]

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                asked.append((self.path, self.headers["Proxy-Authorization"]))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.mark.parametrize(
    ("status", "bypassed", "reason"),
    [
        (200, "", None),
        (403, "", "api.example.invalid cannot be reached through the proxy 127.0.0.1:"),
        (200, "example.invalid", "api.example.invalid cannot be reached"),  # not through it
    ],
)
def test_a_server_behind_a_proxy_is_looked_for_through_it(
    monkeypatch: pytest.MonkeyPatch, status: int, bypassed: str, reason: str | None
) -> None:
    """The name has no address: only the proxy can reach it."""
    for name in ("HTTPS_PROXY", "NO_PROXY", "no_proxy", "WANDB_HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.example.invalid")
    with Proxy(status) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        monkeypatch.setenv("https_proxy", f"http://me:pass%20word@127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("no_proxy", bypassed)
        said = why_offline()
        proxy.shutdown()
        thread.join()
    assert said == reason if reason is None else str(said).startswith(reason)
    login = "Basic " + b64encode(b"me:pass word").decode()
    assert proxy.asked == ([] if bypassed else [("api.example.invalid:443", login)])


@pytest.mark.parametrize("proxy", ["127.0.0.1:9", "http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.example.invalid")
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    assert "cannot be reached through the proxy 127.0.0.1:9" in str(why_offline())


def test_wandb_without_a_network_records_offline_and_says_how_to_sync(
    swept: tuple[Path, str],
) -> None:
    folder, said = swept
    assert "W&B records offline (127.0.0.1 cannot be reached)" in said
    assert "WANDB_RESUME=allow wandb sync runs/sweep/a1b2c3d4/wandb/offline-run-*" in said
    rows = WandbFile(folder).rows
    numbers = {row["step"]: row for row in rows if "losses/prior" in row}
    assert numbers.keys() == {2, 4}
    logged = metrics(folder)
    last = [row for row in logged if "loss/prior" in row][-1]
    assert numbers[4]["losses/prior"] == pytest.approx(last["loss/prior"])
    assert numbers[4]["images_seen"] == 4 * 8
    pictures = [row for row in rows if any(key.startswith("samples") for key in row)]
    assert [row["step"] for row in pictures] == [0, 4]


def test_wandb_has_a_section_for_each_part_of_training_and_a_picture_file_for_each_grid(
    swept: tuple[Path, str],
) -> None:
    folder, _ = swept
    file = WandbFile(folder)
    names = {name for row in file.rows for name in row if not name.startswith("_")}
    sections = {name.split("/")[0] for name in names if "/" in name}
    assert sections == {
        *("losses", "discriminator", "gradients", "speed", "samples", "evaluation"),
    }
    [files] = folder.glob("wandb/offline-run-*/files")
    grids = [row[f"samples/{n}.path"] for row in file.rows[-1:] for n in ("samples", RECONSTRUCTED)]
    for path in grids:
        with Image.open(files / path) as picture:
            assert picture.width > 100, path


def test_wandb_draws_evaluations_over_images_and_all_else_over_steps(
    swept: tuple[Path, str],
) -> None:
    axes = {
        each.get("name", each.get("glob_name")): each.get("step_metric")
        for each in WandbFile(swept[0]).of("metric")
    }
    assert axes["*"] == axes["speed/images_per_s"] == "step"
    assert axes["evaluation/fd"] == axes["evaluation/kd"] == "images_seen"


def test_wandb_sorts_runs_by_the_best_distance_and_by_where_they_have_come_to(
    swept: tuple[Path, str],
) -> None:
    folder, _ = swept
    summary, logged = WandbFile(folder).summary, metrics(folder)
    distances = {row["step"]: row["eval/fd"] for row in logged if "eval/fd" in row}
    best = min(distances, key=lambda step: distances[step])
    assert summary["best/step"] == best
    assert summary["best/fd"] == pytest.approx(distances[best])
    assert summary["evaluation/fd"] == {"min": pytest.approx(distances[best])}
    last = [row for row in logged if "loss/prior" in row][-1]
    for name in ("prior", "gan", "similarity", "pixels"):
        assert summary[f"final/loss_{name}"] == pytest.approx(last[f"loss/{name}"])
    assert summary["final/step"] == 4
    assert summary["final/seconds"] == pytest.approx(last["speed/training_seconds"])
    assert summary["final/images_per_s"] * summary["final/seconds"] == pytest.approx(32)


def test_wandb_has_the_best_and_the_latest_model_with_their_metrics(
    swept: tuple[Path, str],
) -> None:
    folder, _ = swept
    best, latest = WandbFile(folder).of("artifact")
    for logged, file, alias in ((best, "best.pt", "best"), (latest, "ckpt.pt", "latest")):
        content = read_inference_file(folder / file)
        assert (logged["type"], logged["name"]) == ("model", "model-a1b2c3d4")
        # W&B adds latest to each; the one that is logged last keeps it.
        assert set(logged["aliases"]) == {alias, "latest", f"step-{content['step']}"}
        facts = json.loads(logged["metadata"])
        assert (facts["step"], facts["images_seen"]) == (content["step"], content["images_seen"])
        rows = [row for row in metrics(folder) if row["step"] == content["step"]]
        for name in ("eval/fd", "loss/prior"):
            assert facts[name] == next(row[name] for row in rows if name in row)
        [entry] = logged["manifest"]["contents"]
        assert entry["path"] == file
        assert Path(entry["local_path"]).samefile(folder / file), "no copy of the weights"


def test_a_run_of_a_sweep_has_the_agents_id_and_its_values(swept: tuple[Path, str]) -> None:
    folder, said = swept
    file = WandbFile(folder)
    assert file.of("run")[0]["run_id"] == (folder / "wandb-id.txt").read_text().strip()
    assert (folder / "wandb-id.txt").read_text() == "a1b2c3d4\n"
    config = file.config
    assert (config["lr"], config["optim"]["lr"]) == (0.001, 0.001)
    assert config["environment"]["processes"] == 1
    assert SWEEP["metric"]["name"] in file.summary
    assert "Ignoring" not in said


def test_every_value_of_the_sample_sweep_is_one_that_an_option_takes() -> None:
    assert (ROOT / SWEEP["program"]).exists()
    assert SWEEP["parameters"].keys() == TRIED.keys()
    tried = [
        {**TRIED, name: value}
        for name, space in SWEEP["parameters"].items()
        for value in space.get("values", [space.get("min"), space.get("max")])
    ]
    for values in tried:
        _, _, script, _, *options = agents_command(values)
        assert script.startswith("exec accelerate launch launch/train.py --output-dir")
        settings = parse([*options, "--output-dir", "nowhere"]).settings
        assert {name: settings.flat()[name.replace("-", "_")] for name in values} == values


def test_tensorboard_has_the_content_that_wandb_has(
    swept: tuple[Path, str], tmp_path: Path
) -> None:
    """The records of the same run, given to TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = swept
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("wandb*"))
    run = RunFolder(tmp_path / "run")
    config = run.read_config()
    tracker = build_tracker(config.replace(tracker="tensorboard"), run, {"device": "cpu"})
    for row in metrics(folder):
        values = {k: v for k, v in row.items() if "/" in k}
        tracker.log(values, row["step"], row["images_seen"])
    for step in (0, 4):
        grid = torch.zeros(3, 8, 8, dtype=torch.uint8)
        tracker.log_images({"samples": grid, RECONSTRUCTED: grid}, step, 8 * step)
    tracker.conclude(is_complete=True)
    tracker.finish()
    events = EventAccumulator(str(run.root / "tensorboard"))
    events.Reload()

    file = WandbFile(folder)
    curves = {k for row in file.rows for k in row if "/" in k and "." not in k}
    final = {k for k in file.summary if k.startswith(("best/", "final/"))}
    assert set(events.Tags()["scalars"]) == {*curves, *final, "images_seen"}
    for name in (*final, "losses/prior"):
        assert events.Scalars(name)[-1].value == pytest.approx(file.summary[name], rel=1e-6)
    assert events.Tags()["images"] == ["samples/samples", "samples/reconstructions"]
    assert [each.step for each in events.Images("samples/samples")] == [0, 4]
    texts = {
        name: events.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0].decode()
        for name in ("config", "environment", "models/best", "models/latest")
    }
    for name, value in config.replace(tracker="tensorboard").flat().items():
        assert f"{name}: {value}\n" in texts["config"]
    assert "device: cpu" in texts["environment"]
    assert '"eval/fd"' in texts["models/best"]
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")


def test_tensorboard_records_numbers_and_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tiny_config(tracker="tensorboard")
    tracker = build_tracker(config, RunFolder(tmp_path), {})
    tracker.log({"loss/prior": 3.5}, step=7, images_seen=70)
    tracker.log_images({"samples": torch.zeros(3, 8, 8, dtype=torch.uint8)}, 7, 70)
    tracker.finish()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    [point] = events.Scalars("losses/prior")
    assert (point.step, point.value) == (7, 3.5)
    assert events.Images("samples/samples")[0].step == 7


def test_a_resumed_run_goes_on_in_the_same_tensorboard_without_what_was_lost(
    tmp_path: Path,
) -> None:
    """Killed at step 8, with a checkpoint of step 4: steps 5 to 8 come again, and once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tiny_config(tracker="tensorboard")
    for resumed_at, steps in ((None, range(0, 9, 2)), (4, range(6, 11, 2))):
        tracker = build_tracker(config, RunFolder(tmp_path), {}, resumed_at)
        for step in steps:
            tracker.log({"loss/prior": float(step + 100 * (resumed_at or 0))}, step, step)
        tracker.finish()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    points = [(point.step, point.value) for point in events.Scalars("losses/prior")]
    assert points == [(0, 0), (2, 2), (4, 4), (6, 406), (8, 408), (10, 410)]


@pytest.mark.parametrize(("mode", "resume"), [("online", "allow"), ("offline", None)])
def test_a_resumed_run_goes_on_under_its_own_id_in_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, resume: str | None
) -> None:
    """Offline, equal ids are what `wandb sync` makes one run of."""
    asked: list[dict[str, Any]] = []

    def init(**options: Any) -> MagicMock:
        asked.append(options)
        return MagicMock(id=options["id"])

    monkeypatch.setattr("wandb.init", init)
    monkeypatch.setenv("WANDB_MODE", mode)
    for resumed_at in (None, 4):
        tracker = build_tracker(tiny_config(tracker="wandb"), RunFolder(tmp_path), {}, resumed_at)
        assert isinstance(tracker, Guarded)
    first, second = asked
    assert first["id"] == second["id"]
    assert (first["resume"], second["resume"]) == (None, resume)


@pytest.mark.parametrize(
    ("options", "is_complete", "logged"),
    [({}, True, 2), ({}, False, 0), ({"artifacts": False}, True, 0)],
)
def test_models_are_artifacts_of_complete_runs_unless_that_is_switched_off(
    swept: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    is_complete: bool,
    logged: int,
) -> None:
    run = MagicMock(id="a1b2c3d4", dir=str(tmp_path / "files"))
    monkeypatch.setattr("wandb.init", lambda **_: run)
    monkeypatch.setenv("WANDB_MODE", "offline")
    shutil.copytree(swept[0], tmp_path / "run", ignore=shutil.ignore_patterns("wandb*"))
    config = tiny_config(tracker="wandb", **options)
    tracker = build_tracker(config, RunFolder(tmp_path / "run"), {})
    tracker.conclude(is_complete=is_complete)
    assert run.log_artifact.call_count == logged
    assert "final/step" in run.summary.update.call_args.args[0]


class Failing(NoTracker):
    def __init__(self, *_: object) -> None:
        self.calls = 0

    def log(self, *_: object, **__: object) -> None:
        self.calls += 1
        raise ConnectionError("gone")


def test_a_tracker_that_fails_is_reported_once_and_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = Failing()
    tracker = Guarded(failing)
    for step in range(3):
        tracker.log({}, step, 0)
    tracker.finish()
    assert failing.calls == 1
    assert caplog.messages == [
        "The tracker failed and is left out from here on (ConnectionError: gone)."
    ]


def test_a_missing_tracker_package_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vaegan.errors import UserError
    from vaegan.run import tracking

    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        check_tracker("tensorboard")
    check_tracker("none")
