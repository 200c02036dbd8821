"""ONNX of encoder and decoder, each a file of its own, for batches of any size.

    encoder.onnx   x [batch,C,S,S] in [-1, 1]  ->  mu, logvar [batch,Z]
    decoder.onnx   z [batch,Z]                 ->  x          [batch,C,S,S] in [-1, 1]

Both are float32. Those of a conditional model take labels, int64 [batch], beside. Each is run by
onnxruntime before it is written, and compared with torch.
"""

import copy
import json
import logging
import warnings
from collections.abc import Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from vaegan.errors import UserError
from vaegan.files.extras import needed
from vaegan.files.whole_files import whole_file
from vaegan.sharing.output import free_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaegan.model import VAEGAN

EXTRA = "onnx"
OPSET = 18  # GroupNorm and batch norm as torch writes them; runtimes from 2023 on read it
TOLERANCE = 1e-4  # the largest absolute difference to torch
CHECKED_BATCHES = (1, 3)


class Part(NamedTuple):
    """A network to export: its module, inputs of two images by name, and its outputs' names."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]


def write_onnx(model: "VAEGAN", folder: Path) -> None:
    """Write `encoder.onnx`, where the model has one, and `decoder.onnx`.

    `UserError` where the folder is not free, a package of the extra is missing, or onnxruntime
    computes other numbers than torch.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        needed(package, EXTRA)
    with free_folder(folder):
        for name, part in _parts(model).items():
            content = _exported(part, model.config.to_dict())
            _compare(name, part, content)
            with whole_file(folder / f"{name}.onnx") as file:
                file.write(content)


class _Pair(nn.Module):
    """A module that returns a plain tuple, which ONNX has, in place of a named one."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        mu, logvar = self.module(x, labels)
        return mu, logvar


def _parts(model: "VAEGAN") -> dict[str, Part]:
    data, generator = model.config.data, torch.Generator().manual_seed(0)
    parts = {}
    given = model.condition(model.in_turn(2), 2)
    beside = {name: value.cpu() for name, value in given.items()}
    if model.encoder is not None:
        shape = (2, data.channels, data.image_size, data.image_size)
        x = torch.rand(shape, generator=generator) * 2 - 1
        # A copy in torch's own memory format, on the CPU.
        encoder = copy.deepcopy(model.encoder).cpu()
        parts["encoder"] = Part(_Pair(encoder).eval(), {"x": x, **beside}, ("mu", "logvar"))
    z = torch.randn(2, *model.config.latent_shape, generator=generator)
    parts["decoder"] = Part(copy.deepcopy(model.decoder).cpu().eval(), {"z": z, **beside}, ("x",))
    return parts


def _exported(part: Part, config: Mapping[str, Any]) -> bytes:
    """The content of the ONNX file; its metadata has the settings as JSON."""
    with _quiet():
        program = torch.onnx.export(
            part.module,
            tuple(part.inputs.values()),
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in part.inputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = "vaegan_config", json.dumps(config)
    return bytes(proto.SerializeToString())


def _compare(name: str, part: Part, content: bytes) -> None:
    session = needed("onnxruntime", EXTRA).InferenceSession(
        content, providers=["CPUExecutionProvider"]
    )
    for batch in CHECKED_BATCHES:
        rows = torch.arange(batch) % 2
        values = {name: example[rows] for name, example in part.inputs.items()}
        with torch.no_grad():
            ours = part.module(*values.values())
        ours = ours if isinstance(ours, tuple) else (ours,)
        theirs = session.run(
            list(part.outputs), {name: value.numpy() for name, value in values.items()}
        )
        for output, a, b in zip(part.outputs, ours, theirs, strict=True):
            apart = (a - torch.from_numpy(b)).abs().max().item()
            if not apart <= TOLERANCE:
                raise UserError(
                    f"The {name} in ONNX computes another {output} than torch, by up to "
                    f"{apart:.3g} where {TOLERANCE} is allowed: use other versions of torch and "
                    "onnxruntime, or export to a folder."
                )


@contextmanager
def _quiet() -> "Iterator[None]":
    """Without the exporter's progress and the warnings of its own code."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
