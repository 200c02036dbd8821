"""A folder of safetensors with a model card: what `vaegan.load` and the hub take."""

from pathlib import Path
from typing import TYPE_CHECKING

from vaegan.config import Config
from vaegan.files.model_folder import write_model_folder
from vaegan.files.regular_files import read_regular
from vaegan.files.whole_files import whole_file, write_text
from vaegan.networks.published import is_hub_name
from vaegan.run.pictures import sample_grid, save_png
from vaegan.sharing.card import model_card
from vaegan.sharing.hub import CARD_FILE, SAMPLES_FILE
from vaegan.sharing.output import free_folder
from vaegan.sharing.training_record import TrainingRecord, read_training_record

if TYPE_CHECKING:
    from vaegan.model import VAEGAN

SAMPLES = 64
MOST_BYTES = 2**26  # of a card, or of its picture


def write_folder(model: "VAEGAN", folder: Path, *, hub_name: str | None = None) -> None:
    """Write weights, config, card and a grid of samples; `UserError` where that is not possible.

    A model that was itself read from such a folder keeps that folder's card, which its owner may
    have changed.
    """
    with free_folder(folder):
        origin, shared = model.origin, without_paths(model.config)
        networks = model.networks()
        if origin is not None and origin.is_exported and (origin.path / CARD_FILE).is_file():
            for name in (CARD_FILE, SAMPLES_FILE):
                _copy(origin.path / name, folder / name)
        else:
            record = TrainingRecord()
            if origin is not None and not origin.is_exported:
                record = read_training_record(origin, model.config)
            card = model_card(
                shared,
                networks,
                origin,
                record,
                samples_file=SAMPLES_FILE,
                samples=SAMPLES,
                hub_name=hub_name,
            )
            save_png(folder / SAMPLES_FILE, sample_grid(model.sample(SAMPLES, seed=0)))
            write_text(folder / CARD_FILE, card)
        content = {
            "config": shared.to_dict(),
            "weights": "raw" if origin is None else origin.weights,
            "step": 0 if origin is None else origin.step,
            "images_seen": 0 if origin is None else origin.images_seen,
            "seconds": 0.0 if origin is None else origin.seconds,
        }
        weights = {name: module.state_dict() for name, module in networks.items()}
        write_model_folder(folder, content, weights)


def without_paths(config: Config) -> Config:
    """`config` without the paths of this machine, which nobody else has, and which name users."""
    data, similarity = config.data, config.objective.similarity_from
    begun_from = config.network.init_from
    return config.replace(
        output_dir="",
        data_dir=Path(data.data_dir).name if data.dataset == "folder" else "data",
        similarity_from=Path(similarity).name if similarity else "",
        init_from=begun_from if is_hub_name(begun_from) else Path(begun_from).name,
    )


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        with whole_file(target) as file:
            file.write(read_regular(source, MOST_BYTES))
