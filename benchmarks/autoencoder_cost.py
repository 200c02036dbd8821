"""What a step of a kl recipe costs, ours and the public trainers': operations, and time on request.

    python -m benchmarks.autoencoder_cost --recipe kl-f8
    python -m benchmarks.autoencoder_cost --recipe kl-f8 --measure

The first counts floating-point operations on shapes alone, which takes seconds. The second also
times steps at batch 1 on this machine, one way after the other, with the memory that each needs at
its peak. All ways train the same networks on L1, LPIPS, KL and the hinge loss of reconstructions.
The public encoder follows the GAN loss too, as ours does with `--encoder-follows decoder`. LPIPS
has random weights, which cost as much as fitted ones.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from benchmarks.counting import count_work
from benchmarks.machine import PeakMemory, device_name, timed_call
from benchmarks.public.step import MENDED, Autoencoder, PublicStep, Turns, Values
from vaegan.batch import Batch, Noise
from vaegan.commands.base import Parser, exit_code
from vaegan.config import Config, RecipeName
from vaegan.devices import set_threads
from vaegan.errors import UserError
from vaegan.models import MODELS, model_networks
from vaegan.networks import Networks
from vaegan.networks.lpips import Lpips
from vaegan.recipes import RECIPES, recipe_config

OBJECTIVE: dict[str, Any] = {
    "likelihood": "unit-variance",
    "similarity_weights": (0.0,),
    "pixel_weight": 1.0,
    "pixel_loss": "l1",
    "lpips_weight": 1.0,
    "gamma_mode": "balanced",
    "gamma": 1.0,
    "gan_loss": "hinge",
    "fakes": "reconstructions",
}


class Way(NamedTuple):
    """One way to train on a batch. `step` takes its number, counted from 0."""

    name: str
    step: Callable[[int], object]
    period: int = 1
    """Batches after which it repeats itself."""


class Cost(NamedTuple):
    """Of one image."""

    name: str
    gmac: float
    seconds: float | None = None
    peak_mib: float | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(__doc__, prog="benchmarks.autoencoder_cost")
    recipes = [
        name for name in get_args(RecipeName) if RECIPES[name].settings.get("family") == "kl"
    ]
    parser.add_argument("--recipe", choices=recipes, default="kl-f8")
    parser.add_argument("--image-size", type=int, help="pixels, if not the recipe's")
    parser.add_argument("--measure", action="store_true", help="also time steps on this machine")
    parser.add_argument("--batch", type=int, default=1, help="images of a timed step")
    parser.add_argument("--rounds", type=int, default=3, help="timed steps, after one more")

    def work() -> None:
        options = parser.parse_args(arguments)
        for name in ("batch", "rounds"):
            value = getattr(options, name)
            if value < 1:
                raise UserError(f"--{name} {value} is not allowed: it must be 1 or more.")
        size = options.image_size or RECIPES[options.recipe].settings["image_size"]
        config = recipe_config(
            options.recipe, image_size=size, channels=3, batch_size=options.batch, **OBJECTIVE
        )
        costs = counted(config)
        print(as_markdown(config, costs))
        if options.measure:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            set_threads(1)
            print(f"\n{as_markdown(config, measured(config, device, options.rounds), device)}")

    return exit_code("benchmarks.autoencoder_cost", work)


def counted(config: Config) -> list[Cost]:
    """Of the networks' forward passes and of each way's steps, on shapes alone."""
    config = config.replace(batch_size=1)
    with torch.device("meta"):
        networks, lpips, batch = subjects(config)
        x, z = batch.images, batch.noise.eps
        forward = {
            "encoder, forward": lambda: networks.encoder(x),
            "decoder, forward": lambda: networks.decoder(z),
            "discriminator, forward": lambda: networks.discriminator(x),
            "LPIPS's VGG16, forward": lambda: lpips.stages(x),
        }
        with torch.no_grad():
            costs = [Cost(name, _gmac(function)) for name, function in forward.items()]
        for build in WAYS:
            way = build(config, *subjects(config))
            costs.append(Cost(way.name, _gmac(lambda: _period(way)) / way.period))  # noqa: B023
    return costs


def _gmac(function: Callable[[], object]) -> float:
    return count_work(function).mmac / 1e3


def measured(config: Config, device: torch.device, rounds: int) -> list[Cost]:
    """Median seconds of an image, and peak memory, of each way; one is built at a time."""
    costs = []
    for build in WAYS:
        with torch.device(device):
            way: Way | None = build(config, *subjects(config))
        assert way is not None
        peak = PeakMemory(device)
        times = []
        for turn in range(rounds + 1):
            if turn == 1:
                peak.start()
            times.append(timed_call(lambda: _period(way), device))  # noqa: B023
        images = config.training.batch_size * way.period
        costs.append(Cost(way.name, 0.0, statistics.median(times[1:]) / images, peak.mib()))
        way = None  # so that the next one is built into its memory
    return costs


def _period(way: Way | None) -> None:
    assert way is not None
    for index in range(way.period):
        way.step(index)


def subjects(config: Config) -> tuple[Networks, Lpips, Batch]:
    """Networks, LPIPS and a batch on torch's default device."""
    torch.manual_seed(0)
    networks, lpips = model_networks(config), Lpips()
    count, side = config.training.batch_size, config.data.image_size
    x = torch.rand(count, config.data.channels, side, side) * 2 - 1
    return networks, lpips, Batch(x, Noise(*torch.randn(2, count, *config.latent_shape)))


def ours(
    follows: Literal["decoder", "reconstruction"],
) -> Callable[[Config, Networks, Lpips, Batch], Way]:
    """The update, and Adam; what the encoder follows."""

    def build(config: Config, networks: Networks, lpips: Lpips, batch: Batch) -> Way:
        objective = config.replace(encoder_follows=follows).objective
        update = MODELS[config.model].update(networks, objective, lpips=lpips)
        optimizers = [torch.optim.Adam(p, lr=1e-4) for p in update.parameters.values()]

        def step(_: int) -> None:
            for optimizer in optimizers:
                optimizer.zero_grad()
            update(batch)
            for optimizer in optimizers:
                optimizer.step()

        words = {"decoder": "", "reconstruction": ", encoder by the paper's rule"}
        return Way(f"step: ours{words[follows]}", step)

    return build


def public(turns: Turns) -> Callable[[Config, Networks, Lpips, Batch], Way]:
    """The public step without its faults."""

    def build(config: Config, networks: Networks, lpips: Lpips, batch: Batch) -> Way:
        values = Values(rec_loss="l1", perceptual_scale=1.0, disc_start=0)
        step = PublicStep(
            Autoencoder(networks.encoder, networks.decoder),
            networks.discriminator,
            values,
            MENDED,
            turns=turns,
            perceptual=lpips,
        )

        def draw() -> Tensor:
            return batch.noise.eps

        words = "both turns on a batch" if turns == "both" else "turns by batch"
        period = 2 if turns == "alternate" else 1
        return Way(f"step: public, {words}", lambda _: step(batch.images, draw), period)

    return build


WAYS = (ours("decoder"), ours("reconstruction"), public("both"), public("alternate"))


def as_markdown(config: Config, costs: Sequence[Cost], device: torch.device | None = None) -> str:
    """A table of what was counted, or of what was measured on `device`."""
    size = config.data.image_size
    if device is None:
        title = f"{config.recipe}, {size} px: multiply-adds of an image"
        rows = [("", "GMAC", "TFLOP")]
        rows += [(c.name, f"{c.gmac:,.1f}", f"{2 * c.gmac / 1e3:.2f}") for c in costs]
    else:
        title = (
            f"{config.recipe}, {size} px, batch {config.training.batch_size}, fp32, "
            f"{device_name(device)}, {torch.get_num_threads()} thread(s)"
        )
        rows = [("", "seconds an image", "peak memory, MiB")]
        for cost in costs:
            memory = "-" if cost.peak_mib is None else f"{cost.peak_mib:,.0f}"
            rows.append((cost.name, f"{cost.seconds:.2f}", memory))
    rows.insert(1, ("---", "---:", "---:"))
    return "\n".join([f"{title}\n", *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    raise SystemExit(main())
