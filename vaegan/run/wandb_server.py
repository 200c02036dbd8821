"""Whether W&B can be reached: found out within seconds, without a prompt and without W&B."""

import netrc
import os
import socket
from base64 import b64encode
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_SECONDS = 3.0  # for the server to answer; after it, the run is recorded offline


def why_offline() -> str | None:
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
