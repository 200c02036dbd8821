"""Published weights of networks that measure images, fetched once into torch's hub folder."""

import logging
from pathlib import Path

import torch

from vaegan.errors import UserError

logger = logging.getLogger(__name__)


def fetched_weights(url: str, *, of: str, megabytes: int, instead: str) -> Path:
    """The file of `url`, which ends with the first digits of its digest, as torch's hub names them.

    `of` says whose weights they are. Raises `UserError` where the file is neither there nor to be
    had; the sentence ends with what to do `instead` of connecting to the network.
    """
    name = url.rsplit("/", 1)[1]
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    if path.is_file():
        return path
    logger.info(f"Fetching {of} ({megabytes} MB) into {path.parent}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = name.rsplit("-", 1)[1].removesuffix(".pth")
        torch.hub.download_url_to_file(url, str(path), digest, progress=False)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{of} cannot be fetched ({reason}): connect to the network once, {instead}."
        ) from None
    return path
