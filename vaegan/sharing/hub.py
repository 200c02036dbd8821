"""The hub's usual methods on a model: `from_pretrained`, `save_pretrained`, `push_to_hub`.

The push is that of huggingface_hub's `ModelHubMixin`. The model class does not inherit from it, for
two reasons. Its import takes 0.6 s of each process that imports this package. And its own
`from_pretrained` and `save_pretrained` parse `config.json` unchecked, and replace one that is
there. `PyTorchModelHubMixin` fits less: it builds a module from keyword arguments, loads weights
with `strict=False`, and falls back to pickled ones.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from vaegan.errors import UserError
from vaegan.files.extras import needed
from vaegan.files.model_folder import CONFIG_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from vaegan.model import VAEGAN

CARD_FILE, SAMPLES_FILE = "README.md", "samples.png"
PULLED = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, SAMPLES_FILE)


class HubMethods:
    """What a model class inherits; it provides `_from_folder`."""

    @classmethod
    def _from_folder(cls, folder: Path, device: torch.device | str) -> Self:
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> Self:
        """The model of an exported folder, or of a repository on the hub (`user/name`).

        The options from `revision` on are those of `huggingface_hub.snapshot_download`. Nothing
        in the files is executed. Raises `UserError` where there is no such model, where the hub
        cannot be reached, and for damaged files.
        """
        folder = Path(pretrained_model_name_or_path)
        if folder.is_file():
            raise UserError(f"{folder} is a file: load it with vaegan.load, or give a folder.")
        if not folder.is_dir():
            name = str(pretrained_model_name_or_path)
            download = needed("huggingface_hub", "hub").snapshot_download
            with _hub_errors(f"{name} is no folder here, and cannot be fetched from the hub"):
                folder = Path(
                    download(
                        name,
                        allow_patterns=list(PULLED),
                        revision=revision,
                        cache_dir=cache_dir,
                        force_download=force_download,
                        local_files_only=local_files_only,
                        token=token,
                    )
                )
        return cls._from_folder(folder, device)

    def save_pretrained(self: "VAEGAN", folder: str | Path) -> None:  # type: ignore[misc]
        """Write the folder that `from_pretrained` and `vaegan.load` take, with a model card.

        `UserError` where `folder` exists and is not empty, or cannot be written.
        """
        from vaegan.sharing.folder import write_folder

        write_folder(self, Path(folder))

    def push_to_hub(  # type: ignore[misc]
        self: "VAEGAN",
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        commit_message: str = "Add a trained model of vaegan",
    ) -> str:
        """Push what `save_pretrained` writes in one commit; returns the commit's address.

        The repository is made where there is none. The options are those of
        `huggingface_hub.ModelHubMixin.push_to_hub`. `UserError` where the hub refuses.
        """
        from vaegan.sharing.folder import write_folder

        mixin = needed("huggingface_hub", "hub").ModelHubMixin

        class Pushed(mixin, library_name="vaegan"):  # type: ignore[misc, valid-type, call-arg]
            """Gives the mixin the files of this model."""

            def __init__(self, model: "VAEGAN") -> None:
                self.model = model

            def _save_pretrained(self, save_directory: Path) -> None:
                write_folder(self.model, save_directory, hub_name=repo_id)

        options: dict[str, Any] = {
            "private": private,
            "token": token,
            "branch": branch,
            "create_pr": create_pr,
            "commit_message": commit_message,
        }
        with _hub_errors(f"{repo_id} cannot be pushed to the hub"):
            return str(Pushed(self).push_to_hub(repo_id, **options))


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """One sentence for the hub's errors, which come from several packages."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        hint = ", and unset HF_HUB_OFFLINE" if offline else ""
        raise UserError(
            f"{what} ({why.strip().rstrip('.')[:300]}): check the name, the network and the login "
            f"(hf auth login){hint}."
        ) from None
