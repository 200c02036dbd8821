"""Random configs, command lines, images and checkpoints: an answer or a refusal, nothing else.

`VAEGAN_FUZZ=20000 pytest tests/test_fuzz.py` tries as many examples of each, at random; without it
the same few hundred are tried each time.
"""

import io
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vaegan
from tests.support.hostile_files import animation, picture
from tests.support.tiny import tiny_config
from vaegan.commands.train_options import Command, parse
from vaegan.config import SETTINGS, Config
from vaegan.data.images import BadImageError, read_image
from vaegan.errors import UserError
from vaegan.files.checkpoint import INFERENCE_FORMAT, write_file
from vaegan.networks import build_networks

MANY = int(os.environ.get("VAEGAN_FUZZ", "0"))
pytestmark = pytest.mark.timeout(300 if not MANY else 0)


def examples(few: int) -> settings:
    return settings(
        max_examples=MANY or few,
        derandomize=not MANY,
        database=None,
        deadline=None if MANY else 5000,  # ms for one example: none may hang
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# What may stand anywhere in a config: right, nearly right, and absurd. No denormal numbers, which a
# training in the same process has switched off.
FLOATS = st.floats(allow_subnormal=False)
NUMBERS = st.one_of(
    st.integers(-3, 300), st.integers(), FLOATS, st.sampled_from([2**31, 2**63, 10**400])
)
TEXTS = st.one_of(st.text(max_size=9), st.sampled_from(["folder", "auto", "gan", "batch", "~x"]))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
PLAIN: dict[str, Any] = Config().to_dict()


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, Any]:
    """The default config with a few of its places, at any depth, taken by anything."""
    config: dict[str, Any] = {k: dict(v) if isinstance(v, dict) else v for k, v in PLAIN.items()}
    for _ in range(draw(st.integers(1, 3))):
        group = draw(st.sampled_from([*PLAIN, "run", "training", "data", "network"]))
        if isinstance(config.get(group), dict) and draw(st.booleans()):
            config[group][draw(st.sampled_from([*PLAIN[group], "surprise"]))] = draw(VALUES)
        else:
            config[draw(st.one_of(st.just(group), TEXTS))] = draw(VALUES)
    return config


def must_be_one_sentence(text: str) -> None:
    assert text.isprintable(), text
    assert len(text) > 20


@examples(120)
@given(mappings())
def test_any_mapping_is_a_config_or_refused(values: dict[str, Any]) -> None:
    try:
        config = Config.from_dict(values)
    except UserError as error:
        must_be_one_sentence(str(error))
    else:
        assert Config.from_dict(config.to_dict()) == config


OPTIONS = [*SETTINGS, "resume", "config", "dry_run", "no_flip", "flip", "surprise"]
WORDS = st.one_of(
    st.sampled_from(["--" + name.replace("_", "-") for name in OPTIONS]),
    st.sampled_from(["mnist", "gan", "vae", "seed", "8", "0", "-1", "1e999", "nan", "--", "="]),
    NUMBERS.map(repr),
    st.text(max_size=9),
)


@examples(40)
@given(st.lists(WORDS, max_size=6))
def test_any_command_line_is_a_command_or_refused(words: list[str]) -> None:
    if any(word.startswith("--tyro-") for word in words):
        return  # writes a shell's completion
    code: Any = 0
    try:
        assert isinstance(parse(words), Command)
    except UserError as error:
        must_be_one_sentence(str(error))
    except SystemExit as stop:
        code = stop.code
    assert not code, "0 is --help's"


FORMS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "TGA", "PPM", "JPEG2000", "AVIF")
GOOD = [picture(form) for form in FORMS]
GOOD += [picture("PNG", "LA"), picture("PNG", "P"), picture("PNG", "I;16"), picture("GIF", "P")]
GOOD += [
    picture("JPEG", "CMYK"),
    picture("TIFF", "CMYK"),
    picture("TIFF", "F"),
    picture("PNG", "1"),
]
GOOD += [picture("TIFF", "RGB", compression="tiff_lzw"), *map(animation, ("GIF", "PNG", "WEBP"))]
GOOD.append(picture("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"))


@st.composite
def mutations(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """A real file after a few accidents: bytes changed, cut out, put in, repeated, the end lost."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        # Headers, where most decisions are made, are hit as often as all the rest.
        last = max(len(data) - 1, 0)
        place = draw(st.one_of(st.integers(0, min(last, 64)), st.integers(0, last)))
        more = draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff" * 4, b"\0" * 4])))
        match draw(st.sampled_from(["change", "cut", "insert", "repeat", "end"])):
            case "change":
                data[place : place + len(more)] = more
            case "cut":
                del data[place : place + draw(st.integers(1, 99))]
            case "insert":
                data[place:place] = more
            case "repeat":
                data[place:place] = data[place : place + draw(st.integers(1, 99))]
            case "end":
                del data[place:]
    return bytes(data)


@examples(400)
@given(
    st.one_of(mutations(st.sampled_from(GOOD)), st.binary(max_size=200)),
    st.sampled_from([1, 3]),
)
def test_any_bytes_are_an_image_or_refused(data: bytes, channels: int) -> None:
    with tempfile.NamedTemporaryFile(suffix=".png") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as where folders are read
        file.write(data)
        file.flush()
        try:
            image = read_image(Path(file.name), 16, channels, (255, 255, 255))
        except BadImageError as error:
            why = str(error)
        else:
            assert image.dtype == torch.uint8
            assert image.shape == (channels, 16, 16)
            why = "it is read"
        assert why


def tiny_checkpoint() -> bytes:
    config = tiny_config(latent_size=2, encoder_widths=(2,), decoder_widths=(2, 2))
    config = config.replace(discriminator_widths=(2,), discriminator_stem=2, encoder_hidden=2)
    networks = build_networks(config.data, config.network).by_name()
    weights = {name: module.state_dict() for name, module in networks.items()}
    content = {"config": config.to_dict(), "step": 1, "images_seen": 8, "weights": weights}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ckpt.pt")
        write_file(path, INFERENCE_FORMAT, {**content, "ema": weights})
        return path.read_bytes()


CHECKPOINT = tiny_checkpoint()


@st.composite
def checkpoints(draw: st.DrawFn) -> bytes:
    """The bytes of a real one after accidents, or of one whose content is partly anything."""
    if draw(st.booleans()):
        return draw(mutations(st.just(CHECKPOINT)))
    content = torch.load(io.BytesIO(CHECKPOINT), weights_only=True)
    for _ in range(draw(st.integers(1, 2))):
        place, depth = content, draw(st.integers(0, 3))
        for _ in range(depth):
            inner = [v for v in place.values() if isinstance(v, dict) and v]
            place = draw(st.sampled_from(inner)) if inner else place
        shapes = st.lists(st.integers(0, 3), max_size=3).map(torch.ones)
        place[draw(st.sampled_from(sorted(place, key=str)))] = draw(st.one_of(VALUES, shapes))
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@examples(80)
@given(checkpoints(), st.sampled_from(["ema", "raw"]))
def test_any_bytes_are_a_model_or_refused(data: bytes, weights: Any) -> None:
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        file.write(data)
        file.flush()
        try:
            model = vaegan.load(file.name, weights=weights)
        except UserError as error:
            must_be_one_sentence(str(error))
        else:
            assert model.sample(1).shape == (1, 1, 16, 16)
