"""Show what a checkpoint holds.

Its model, data set, networks, training and the settings that are not those of its recipe; of the
run folder beside it, the versions and the best evaluation.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaegan.commands.checkpoint.common import new_file
from vaegan.files.regular_files import expanded
from vaegan.files.whole_files import write_text
from vaegan.run.description import describe_checkpoint

WIDTH = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="a run's ckpt.pt or best.pt")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write everything there, or to stdout with -"
    )


def run(options: argparse.Namespace) -> None:
    to_stdout = options.json == Path("-")
    output = None
    if options.json is not None and not to_stdout:
        output = new_file(options.json, (".json",), "--json")
    facts = describe_checkpoint(expanded(options.checkpoint, "the checkpoint"))
    print("\n".join(_lines(facts)), file=sys.stderr if to_stdout else sys.stdout)
    if to_stdout:
        print(json.dumps(facts, indent=2))
    elif output is not None:
        write_text(output, json.dumps(facts, indent=2) + "\n")


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    size, seconds = facts["image_size"], facts["seconds"]
    yield _row("model", f"{facts['model']}, recipe {facts['recipe']}")
    yield _row("data set", f"{facts['dataset']}, {size}x{size}x{facts['channels']}")
    yield _row("latents", "x".join(map(str, facts["latent_shape"])))
    parameters = facts["parameters"]
    counts = ", ".join(f"{name} {count:,}" for name, count in parameters.items())
    yield _row("parameters", f"{sum(parameters.values()):,} ({counts})")
    time = f", {seconds:,.0f} s" if seconds else ""
    yield _row("trained", f"{facts['step']:,} steps, {facts['images_seen']:,} images{time}")
    yield _row("seed", f"{facts['seed']}")
    for name, change in facts["changed"].items():
        yield _row(name, f"{_plain(change['value'])} (recipe: {_plain(change['recipe'])})")
    if (environment := facts["environment"]) is not None:
        yield _row("environment", ", ".join(f"{k} {v}" for k, v in environment.items()))
    if (evaluation := facts["evaluation"]) is not None:
        yield _row("best evaluation", _measured(evaluation))


def _measured(evaluation: dict[str, Any]) -> str:
    names = evaluation.get("names")
    name = names.get("frechet_distance") if isinstance(names, dict) else None
    return (
        f"{name or 'Fréchet distance'} {evaluation.get('frechet_distance')} of "
        f"{evaluation.get('num_samples')} samples at step {evaluation['step']:,}"
    )


def _row(name: str, value: str) -> str:
    return f"{name:<{WIDTH}}{value}"


def _plain(value: Any) -> str:
    """A setting as on the command line."""
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
