"""The frame of every model's update: one batch in, the gradients of its own losses in `.grad`.

An update has three phases.

    forward    run the networks, and take the gradients that need nothing of the other images
    share      find what has to be known of the whole batch: variances, norms of two gradients
    backward   take the other gradients

A process's batch may come in several micro-batches (`accumulate`), so that less memory is needed.
The gradients are then those of the whole batch all the same, to rounding, wherever networks see
one image at a time. (Batch norm sees micro-batches, as it sees the batch of its own process.)
Where the whole batch has to be known, all micro-batches run `forward` before any runs `backward`.

Every loss is a mean over the images of the global batch, that of all processes. A micro-batch
computes its own mean, which counts by its `share`: its images over the global batch's, times the
number of processes, since DistributedDataParallel divides by that.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vaegan.augmentation import augment
from vaegan.batch import Batch
from vaegan.config import ObjectiveConfig
from vaegan.losses import mixture_prior_loss, prior_loss
from vaegan.networks import Absent, Judgement, Networks, Posterior, Prior
from vaegan.updates.balance import GradientBalance
from vaegan.updates.lecam import LeCam
from vaegan.updates.penalties import Penalties
from vaegan.updates.ramp import GanRamp

Metrics = dict[str, Tensor]


@dataclass(frozen=True)
class Shared:
    """What is known of the whole batch; `metrics` are its own numbers, scalars on the device."""

    metrics: Metrics


Forward = TypeVar("Forward")
Known = TypeVar("Known", bound=Shared)


class Update(ABC, Generic[Forward, Known]):
    """Fills `.grad` of the networks that a model trains; steps nothing.

    `joint` has all images judged in one pass of the discriminator instead of two or three, with
    the same result. For the VAE/GAN it computes 2 S_l more, since the gradient of L_llike then
    runs through the whole batch, but in larger pieces. `scale` multiplies a loss by the fp16 loss
    scale, or is the identity; `mean_over_ranks` averages a small tensor over the processes, or is
    the identity. Both act on the device, without waiting for it. `images_per_process` is the
    global batch over the number of processes; None where this process's batch is all there is.
    `lpips` is the network of an objective with LPIPS.
    """

    def __init__(
        self,
        networks: Networks,
        objective: ObjectiveConfig,
        *,
        joint: bool = False,
        accumulate: int = 1,
        images_per_process: float | None = None,
        lpips: nn.Module | None = None,
        scale: Callable[[Tensor], Tensor] = lambda loss: loss,
        mean_over_ranks: Callable[[Tensor], Tensor] = lambda value: value,
    ) -> None:
        self.networks = networks
        self.objective = objective
        self.joint = joint
        self.accumulate, self.images_per_process = accumulate, images_per_process
        self.lpips = lpips
        self.scale = scale
        self.mean_over_ranks = mean_over_ranks
        self.parameters = {
            name: [p for p in module.parameters() if p.requires_grad]
            for name, module in networks.trained().items()
        }
        self.balance: GradientBalance | None = None
        self.penalties: Penalties | None = None
        self.lecam: LeCam | None = None
        self.ramp: GanRamp | None = None
        if "discriminator" in self.parameters:
            device = self.parameters["discriminator"][0].device
            if objective.is_penalised:
                self.penalties = Penalties(objective, device)
            if objective.lecam:
                self.lecam = LeCam(objective, device)

    @classmethod
    def terms(cls, networks: Networks, objective: ObjectiveConfig) -> dict[str, float]:
        """The weight of each term of the reconstruction loss by its metric; none for a GAN."""
        return {}

    def begin(self, step: int, images_seen: int) -> None:
        """Plan the update number `step`, counted from 0, which so many images came before."""
        if self.penalties is not None:
            self.penalties.begin(step)
        if self.ramp is not None:
            self.ramp.begin(images_seen)

    def kept(self) -> dict[str, GradientBalance | LeCam | GanRamp]:
        """What an update reads from the device that earlier ones or `begin` left there, by name.

        It is the same on every process.
        """
        parts = {"balance": self.balance, "lecam": self.lecam, "ramp": self.ramp}
        return {name: part for name, part in parts.items() if part is not None}

    def __call__(self, batch: Batch) -> Metrics:
        """Add the gradients of one batch to `.grad`; return detached scalars on the device.

        The optimiser's gradients must have been set to None. The mean of a metric over the
        processes is its mean over the global batch.
        """
        metrics = self._train(batch.split(self.accumulate, self.images_per_process))
        if self.penalties is not None:
            self.penalties.complete(metrics)
        if self.lecam is not None:
            self.lecam.complete(metrics, self.mean_over_ranks)
        return metrics

    def _train(self, parts: list[Batch]) -> Metrics:
        metrics: Metrics = {}
        if len(parts) == 1 or not self.needs_whole_batch:
            for i, part in enumerate(parts):
                with self._averaged_over_ranks(i == len(parts) - 1):
                    passed = self.forward(part, keep_graph=True)
                    shared = self.share([passed])
                    _add(metrics, self.backward(part, passed, shared))
            return metrics | shared.metrics
        passes = []
        for i, part in enumerate(parts):
            with self._averaged_over_ranks(i == len(parts) - 1):
                passes.append(self.forward(part, keep_graph=False))
        shared = self.share(passes)
        for i, part in enumerate(parts):
            with self._averaged_over_ranks(i == len(parts) - 1):
                _add(metrics, self.backward(part, passes[i], shared))
        return metrics | shared.metrics

    @property
    def needs_whole_batch(self) -> bool:
        """Whether `backward` needs something of all images of the global batch."""
        return False

    @abstractmethod
    def forward(self, batch: Batch, *, keep_graph: bool) -> Forward:
        """Run the networks; train the discriminator, whose loss needs nothing shared.

        Without `keep_graph`, `backward` is to run encoder and decoder forward again, so that the
        graphs of all micro-batches are not held at once.
        """

    @abstractmethod
    def share(self, passes: list[Forward]) -> Known:
        """What has to be known of the whole batch, over micro-batches and processes."""

    @abstractmethod
    def backward(self, batch: Batch, passed: Forward, shared: Known) -> Metrics:
        """Train the other networks; return what these images add to each metric's mean."""

    def condition(self, batch: Batch) -> dict[str, Tensor]:
        """What the networks take beside images or latents: the classes of a conditional model.

        A sample has the class of the real image at its place in the batch, and so the classes of
        samples are as frequent as those of the images.
        """
        if not self.networks.conditional:
            return {}
        if batch.labels is None:
            raise ValueError("the networks are conditional, and the batch has no labels")
        return {"labels": batch.labels}

    def prior(self, batch: Batch) -> Prior | None:
        """The learned prior of these images; None for N(0, I)."""
        if isinstance(self.networks.prior, Absent):
            return None
        prior: Prior = self.networks.prior(**self.condition(batch))
        return prior

    def prior_loss(self, posterior: Posterior, z: Tensor, prior: Prior | None) -> Tensor:
        """L_prior of a micro-batch, nats per image: exact for N(0, I), else estimated at `z`."""
        if prior is None:
            return prior_loss(posterior.mu, posterior.logvar)
        return mixture_prior_loss(posterior.logvar, prior.log_density(z))

    def judge(self, images: list[Tensor], batch: Batch) -> list[Judgement]:
        """The discriminator's features and logits of each kind of images of a batch."""
        discriminator, condition = self.networks.discriminator, self.condition(batch)
        if not self.joint:
            return [discriminator(kind, **condition) for kind in images]
        count = len(images)
        condition = {name: labels.repeat(count) for name, labels in condition.items()}
        together: Judgement = discriminator(torch.cat(images), **condition, parts=count)
        features = [layer.chunk(count) for layer in together.features]
        logits = together.logit.chunk(count)
        return [Judgement(tuple(f[i] for f in features), logits[i]) for i in range(count)]

    def shown(self, images: Tensor, batch: Batch, *, sampled: bool = False) -> Tensor:
        """What the discriminator is shown of images: themselves, or changed at random.

        An image and its reconstruction are changed alike, so that their features compare.
        """
        if not self.objective.augmentations:
            return images
        if batch.noise.augment is None:
            raise ValueError("the batch's noise has no parameters of augmentation")
        return augment(images, self.objective.augmentations, batch.noise.augment[:, int(sampled)])

    def real_leaf(self, batch: Batch) -> Tensor:
        """The real images, as the leaf of a graph where a penalty is due that needs it."""
        leaf = self.penalties is not None and self.penalties.needs_real_leaf
        return cut(batch.images) if leaf else batch.images

    @contextmanager
    def forward_only(self, *, graph: bool = False) -> Iterator[None]:
        """Encoder and decoder leave neither a graph nor a trace in batch norm's statistics.

        With `graph` they leave a graph, of which no backward pass may reach a weight's `.grad`.
        """
        modules = (self.networks.encoder, self.networks.decoder)
        buffers = [buffer for module in modules for buffer in module.buffers()]
        with ExitStack() as stack:
            before = [buffer.clone() for buffer in buffers]
            if graph:
                # A forward pass with a graph makes DistributedDataParallel wait for a backward one.
                self._enter_no_sync(modules, stack)
            else:
                stack.enter_context(torch.no_grad())
            yield
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)

    @contextmanager
    def _averaged_over_ranks(self, now: bool) -> Iterator[None]:
        """Each network's gradients meet the other processes' once per update, with the last."""
        with ExitStack() as stack:
            if not now:
                self._enter_no_sync(self.networks.trained().values(), stack)
            yield

    @staticmethod
    def _enter_no_sync(modules: Iterable[nn.Module], stack: ExitStack) -> None:
        for module in modules:
            if isinstance(module, DistributedDataParallel):
                stack.enter_context(module.no_sync())


def _add(total: Metrics, part: Metrics) -> None:
    for name, value in part.items():
        total[name] = total[name] + value if name in total else value


def cut(tensor: Tensor) -> Tensor:
    """The same values as the leaf of a graph of its own."""
    return tensor.detach().requires_grad_()


def total(terms: Iterable[Any]) -> Tensor:
    """The sum, from the first term on; at least one is needed."""
    first, *others = terms
    for other in others:
        first = first + other
    result: Tensor = first
    return result


AnyUpdate = Update[Any, Any]
