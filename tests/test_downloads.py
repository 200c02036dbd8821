"""A download into a folder that others use at the same time: each file is whole, or not there."""

import gzip
import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from vaegan.config import DataConfig
from vaegan.data import load_source

IMAGES = np.random.default_rng(0).integers(0, 256, (400, 28, 28), dtype=np.uint8)


def packed(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    return gzip.compress(header + values.astype(np.uint8).tobytes())


FILES = {
    f"{prefix}-{part}-ubyte.gz": packed(values)
    for prefix in ("train", "t10k")
    for part, values in (("images-idx3", IMAGES), ("labels-idx1", np.arange(400) % 10))
}


class Mirror(ThreadingHTTPServer):
    """Serves MNIST's files, and waits in the middle of each until it is told to go on."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.go_on, self.halfway = threading.Event(), threading.Semaphore(0)


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        content = FILES[self.path.rsplit("/", 1)[1]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        self.server.halfway.release()
        self.server.go_on.wait(60)
        self.wfile.write(content[half:])

    def log_message(self, *_: Any) -> None:
        return None


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    server = Mirror()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.delenv(scheme, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    mnist = torchvision.datasets.MNIST
    monkeypatch.setattr(mnist, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    digests = [(name, hashlib.md5(content).hexdigest()) for name, content in FILES.items()]
    monkeypatch.setattr(mnist, "resources", digests)
    yield server
    server.shutdown()
    server.server_close()


def test_two_that_download_at_once_both_read_whole_files(mirror: Mirror, tmp_path: Path) -> None:
    """Both are halfway through the same file when neither has put anything under its name."""
    data = DataConfig(dataset="mnist", data_dir=str(tmp_path), image_size=32)
    read: list[torch.Tensor] = []
    loaders = [
        threading.Thread(target=lambda: read.append(load_source(data).load_all())) for _ in range(2)
    ]
    for loader in loaders:
        loader.start()
    for _ in loaders:
        assert mirror.halfway.acquire(timeout=60)
    while not any(path.is_file() and path.stat().st_size for path in tmp_path.rglob("*")):
        time.sleep(0.01)  # until the first bytes have reached the disk
    there = [path for path in tmp_path.rglob("*-ubyte*") if ".download-" not in str(path)]
    mirror.go_on.set()
    for loader in loaders:
        loader.join(60)
    assert there == [], "half a file has a name that a reader looks for"
    assert len(read) == 2
    for images in read:
        assert torch.equal(images[:, 0, 2:30, 2:30], torch.from_numpy(IMAGES))
    assert not list(tmp_path.glob(".download-*")), "nothing is left beside the data"


def test_a_download_that_fails_leaves_nothing_behind(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.go_on.set()
    wrong = [(name, "0" * 32) for name in FILES]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", wrong)
    data = DataConfig(dataset="mnist", data_dir=str(tmp_path / "data"), image_size=32)
    with pytest.raises(ValueError, match="downloading it failed"):
        load_source(data)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
