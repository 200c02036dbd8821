"""Trackers record what they should, and never stand in training's way."""

import json
import struct
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from tests.support.commands import Command
from tests.support.tiny import TINY_OPTIONS, tiny_config
from vaegan.run.tracking import Guarded, NoTracker, _why_offline, build_tracker, check_tracker

RUN = [*TINY_OPTIONS, "--max-steps", "4", "--log-every", "2", "--output-dir", "out"]


def wandb_history(folder: Path) -> list[dict[str, Any]]:
    """What an offline W&B run recorded, read back from its own file.

    The file is a LevelDB log: blocks of 32 KiB with records of a checksum, a length, a type
    (whole, or first, middle and last part) and a protocol buffer.
    """
    from wandb.proto import wandb_internal_pb2 as messages

    [file] = folder.glob("wandb/offline-run-*/run-*.wandb")
    content, rows, parts = file.read_bytes(), [], b""
    at = 7  # the header
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = messages.Record.FromString(parts)  # type: ignore[attr-defined]
            parts = b""
            if record.WhichOneof("record_type") == "history":
                rows.append(
                    {
                        item.key or "/".join(item.nested_key): json.loads(item.value_json)
                        for item in record.history.item
                    }
                )
    return rows


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
    assert reason in str(_why_offline())


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
        said = _why_offline()
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
    assert "cannot be reached through the proxy 127.0.0.1:9" in str(_why_offline())


def test_wandb_without_a_network_records_offline_and_says_how_to_sync(
    train: Command, tmp_path: Path
) -> None:
    gone = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    result = train(*RUN, "--tracker", "wandb", **gone)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "W&B records offline (127.0.0.1 cannot be reached)" in result.stderr
    assert "wandb sync out/wandb/offline-run-*" in result.stderr
    rows = wandb_history(tmp_path / "out")
    numbers = {row["step"]: row for row in rows if "loss/prior" in row}
    assert numbers.keys() == {2, 4}
    lines = (tmp_path / "out/metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    assert numbers[4]["loss/prior"] == pytest.approx(logged[-1]["loss/prior"])
    assert numbers[4]["images_seen"] == 4 * 8
    pictures = [row for row in rows if any(key.startswith("samples") for key in row)]
    assert [row["step"] for row in pictures] == [0, 4]


def test_tensorboard_records_numbers_and_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tiny_config(tracker="tensorboard")
    tracker = build_tracker(config, tmp_path)
    tracker.log({"loss/prior": 3.5}, step=7, images_seen=70)
    tracker.log_images({"samples": torch.zeros(3, 8, 8, dtype=torch.uint8)}, 7, 70)
    tracker.finish()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    [point] = events.Scalars("loss/prior")
    assert (point.step, point.value) == (7, 3.5)
    assert events.Images("samples")[0].step == 7


def test_a_resumed_run_goes_on_in_the_same_tensorboard_without_what_was_lost(
    tmp_path: Path,
) -> None:
    """Killed at step 8, with a checkpoint of step 4: steps 5 to 8 come again, and once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tiny_config(tracker="tensorboard")
    for resumed_at, steps in ((None, range(0, 9, 2)), (4, range(6, 11, 2))):
        tracker = build_tracker(config, tmp_path, resumed_at)
        for step in steps:
            tracker.log({"loss/prior": float(step + 100 * (resumed_at or 0))}, step, step)
        tracker.finish()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    points = [(point.step, point.value) for point in events.Scalars("loss/prior")]
    assert points == [(0, 0), (2, 2), (4, 4), (6, 406), (8, 408), (10, 410)]


@pytest.mark.parametrize(("mode", "resume"), [("online", "allow"), ("offline", None)])
def test_a_resumed_run_goes_on_under_its_own_id_in_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, resume: str | None
) -> None:
    """Offline, equal ids are what `wandb sync` makes one run of."""
    asked: list[dict[str, Any]] = []

    def init(**options: Any) -> MagicMock:
        asked.append(options)
        return MagicMock()

    monkeypatch.setattr("wandb.init", init)
    monkeypatch.setenv("WANDB_MODE", mode)
    for resumed_at in (None, 4):
        tracker = build_tracker(tiny_config(tracker="wandb"), tmp_path, resumed_at)
        assert isinstance(tracker, Guarded)
    first, second = asked
    assert first["id"] == second["id"]
    assert (first["resume"], second["resume"]) == (None, resume)


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
