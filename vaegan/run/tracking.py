"""Dashboards. A tracker never prompts, blocks or stops the training."""

import logging
import netrc
import os
import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from torch import Tensor

from vaegan.config import Config
from vaegan.errors import UserError

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 3.0  # for a tracker's server to answer; after it, the run is recorded offline
FINISH_SECONDS = 60.0  # for the last upload; after it, `wandb sync` has to finish it


class Tracker(Protocol):
    """A dashboard that takes numbers and grids of images (uint8 [3,H,W])."""

    def log(self, values: Mapping[str, float], step: int, images_seen: int) -> None: ...

    def log_images(self, grids: Mapping[str, Tensor], step: int, images_seen: int) -> None: ...

    def finish(self) -> None: ...


def check_tracker(name: str) -> None:
    """`UserError` where the tracker's package is missing; called before any work."""
    package = {"wandb": "wandb", "tensorboard": "tensorboard"}.get(name)
    if package and find_spec(package) is None:
        raise UserError(
            f"--tracker {name} needs the package {package}: run pip install {package}, or choose "
            "--tracker none."
        )


def build_tracker(config: Config, folder: Path, resumed_at: int | None = None) -> Tracker:
    """The tracker of `config.output.tracker`; where it cannot start, a warning and none.

    A run that resumes at the step `resumed_at` continues in its dashboard too.
    """
    kinds: dict[str, Callable[[Config, Path, int | None], Tracker]] = {
        "wandb": WandbTracker,
        "tensorboard": TensorBoardTracker,
    }
    if config.output.tracker == "none":
        return NoTracker()
    try:
        return Guarded(kinds[config.output.tracker](config, folder, resumed_at))
    except Exception as error:  # no fault of a dashboard may stop training
        logger.warning(
            f"{config.output.tracker} could not start and is left out ({_brief(error)})."
        )
        return NoTracker()


class NoTracker:
    """Discards everything; `metrics.jsonl` has the numbers."""

    def log(self, values: Mapping[str, float], step: int, images_seen: int) -> None:
        return None

    def log_images(self, grids: Mapping[str, Tensor], step: int, images_seen: int) -> None:
        return None

    def finish(self) -> None:
        return None


class Guarded:
    """Forwards everything until the tracker fails once; then warns and discards."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def log(self, values: Mapping[str, float], step: int, images_seen: int) -> None:
        self._try(lambda: self.tracker.log(values, step, images_seen))

    def log_images(self, grids: Mapping[str, Tensor], step: int, images_seen: int) -> None:
        self._try(lambda: self.tracker.log_images(grids, step, images_seen))

    def finish(self) -> None:
        self._try(self.tracker.finish)

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            logger.warning(f"The tracker failed and is left out from here on ({_brief(error)}).")
            self.tracker = NoTracker()


class WandbTracker:
    """Weights & Biases: online where there is a login and a network, else recorded offline.

    The user's own WANDB_MODE, WANDB_BASE_URL and other variables are respected. A resumed run keeps
    its id, which is stored in the run folder. Steps after the last checkpoint are logged twice,
    with the same numbers.
    """

    def __init__(self, config: Config, folder: Path, resumed_at: int | None = None) -> None:
        import wandb

        self.folder = folder
        why_offline = _why_offline()
        mode = os.environ.get("WANDB_MODE") or ("offline" if why_offline else "online")
        id_file = folder / "wandb-id.txt"
        resumed = id_file.exists()
        run_id = id_file.read_text().strip() if resumed else os.urandom(4).hex()
        self.wandb = wandb
        self.run = wandb.init(
            project=config.output.project,
            name=folder.name,
            id=run_id,
            # Offline there is nothing to resume: `wandb sync` joins equal ids.
            resume="allow" if resumed and mode == "online" else None,
            dir=str(folder),
            config=config.to_dict(),
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(silent=True, console="off", init_timeout=30),
        )
        id_file.write_text(run_id + "\n")
        self.run.define_metric("images_seen")
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")
        if mode == "offline":
            reason = f" ({why_offline})" if why_offline else ""
            logger.info(
                f"W&B records offline{reason}; to upload: wandb sync {folder}/wandb/offline-run-*"
            )
        elif mode == "online":
            logger.info(f"W&B: {self.run.url}")

    def log(self, values: Mapping[str, float], step: int, images_seen: int) -> None:
        self.run.log({**values, "step": step, "images_seen": images_seen})

    def log_images(self, grids: Mapping[str, Tensor], step: int, images_seen: int) -> None:
        pictures = {
            name: self.wandb.Image(grid.permute(1, 2, 0).numpy()) for name, grid in grids.items()
        }
        self.run.log({**pictures, "step": step, "images_seen": images_seen})

    def finish(self) -> None:
        # In a thread: without a network the last upload would wait without end.
        thread = threading.Thread(target=self.run.finish, daemon=True)
        thread.start()
        thread.join(FINISH_SECONDS)
        if thread.is_alive():
            logger.warning(f"W&B is still uploading; later: wandb sync {self.folder}/wandb/run-*")


class TensorBoardTracker:
    """TensorBoard event files in the run folder's `tensorboard/`.

    Of a resumed run, records beyond its first step are hidden: they are logged again.
    """

    def __init__(self, config: Config, folder: Path, resumed_at: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # From the beginning the first pictures, of step 0, are drawn again.
        purge = resumed_at + 1 if resumed_at else resumed_at
        self.writer = SummaryWriter(folder / "tensorboard", purge_step=purge)
        self.writer.add_text("config", f"```\n{_as_yaml(config)}\n```")
        logger.info(f"TensorBoard: tensorboard --logdir {folder}/tensorboard")

    def log(self, values: Mapping[str, float], step: int, images_seen: int) -> None:
        for name, value in {**values, "images_seen": images_seen}.items():
            self.writer.add_scalar(name, value, step)

    def log_images(self, grids: Mapping[str, Tensor], step: int, images_seen: int) -> None:
        for name, grid in grids.items():
            self.writer.add_image(name, grid, step)

    def finish(self) -> None:
        self.writer.close()


def _why_offline() -> str | None:
    """Why W&B cannot be reached, or None; without a prompt, within a few seconds."""
    url = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    host = url.hostname or ""
    if not _has_login(host):
        return "no login found; run wandb login once to see runs online"
    proxy = _proxy_for(url)
    through = f" through the proxy {proxy.hostname}:{_port(proxy)}" if proxy else ""
    try:
        _connect(url, proxy)
    except (OSError, ValueError, HTTPException):  # of a proxy's answer, or a port that is none
        return f"{host} cannot be reached{through}"
    return None


def _proxy_for(url: SplitResult) -> SplitResult | None:
    """The proxy that W&B reaches a server through: HTTPS_PROXY, HTTP_PROXY, NO_PROXY."""
    name = f"{url.scheme}_proxy"
    proxy = os.environ.get(f"WANDB_{name.upper()}") or getproxies().get(url.scheme)
    if not proxy or proxy_bypass(url.netloc.rpartition("@")[2]):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _connect(url: SplitResult, proxy: SplitResult | None) -> None:
    """Open a connection to the server and close it.

    Raises `OSError`, `HTTPException` or `ValueError` where that is not possible.
    """
    near = url if proxy is None else proxy
    host, port = near.hostname or "", _port(near)
    if proxy is None or (url.scheme, proxy.scheme) != ("https", "http"):
        # Without a tunnel, only the proxy itself is tested.
        socket.create_connection((host, port), CONNECT_SECONDS).close()
        return
    connection = HTTPConnection(host, port, timeout=CONNECT_SECONDS)
    headers = {}
    if proxy.username is not None:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    connection.set_tunnel(url.hostname or "", _port(url), headers)
    try:
        connection.connect()
    finally:
        connection.close()


def _port(url: SplitResult) -> int:
    return url.port or {"https": 443, "socks5": 1080, "socks5h": 1080}.get(url.scheme, 80)


def _has_login(host: str) -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _as_yaml(config: Config) -> str:
    return "\n".join(f"{name}: {value}" for name, value in config.flat().items())


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
