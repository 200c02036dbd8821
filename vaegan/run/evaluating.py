"""Periodic evaluation of the samples during training, and the record of the best step.

The numbers equal those of `evaluation/fid.py` for the checkpoint of the same step, with the
options that the run logs at its start. Training is not affected: a copy is measured, and random
numbers are drawn from separate generators.
"""

import copy
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from vaegan.config import Config
from vaegan.data import DataSet
from vaegan.data.images import as_uint8
from vaegan.files.cache_folder import default_folder
from vaegan.files.checkpoint import load_weights, read_inference_file
from vaegan.metrics.cache import tensor_digest
from vaegan.metrics.evaluation import Evaluator
from vaegan.metrics.extraction import sum_over_processes
from vaegan.metrics.extractors import load_extractor
from vaegan.metrics.protocol import Protocol, RealImages, RealLabels, choose_rows
from vaegan.model import VAEGAN
from vaegan.networks import Networks
from vaegan.processes import local_main_first, main_decides
from vaegan.run.evaluation_cost import MOST_SHARE, EvaluationCost

logger = logging.getLogger(__name__)


class PeriodicEvaluation:
    """Fréchet and kernel distance of averaged weights' samples to held-out images.

    For a folder without held-out images, the reference is the training images.

    All processes create one and call its methods at the same steps. They share the work; only the
    main process gets the numbers. Raises `UserError` where the extractor is not available.
    """

    def __init__(self, config: Config, accelerator: Accelerator) -> None:
        asked = config.evaluation
        self.config, self.accelerator = config, accelerator
        with local_main_first(accelerator):  # the main process downloads first
            self.extractor = load_extractor(asked.eval_extractor, None, accelerator.device)
        self.best, self.is_best = math.inf, False
        self.record: dict[
            str, Any
        ] = {}  # of the last evaluation, with everything that it depends on

    def choose_images(self, data: DataSet, classes: tuple[str, ...] = ()) -> None:
        """Load the reference: held-out images, or training images of a folder without any.

        `classes` are the names of a conditional run's, whose samples are of classes as frequent as
        the reference's. Raises `UserError` where there are too few images.
        """
        self.config = self.config.replace(classes=classes)
        split = data.held_out_split
        held_out = data.split(split)
        self.protocol = Protocol(
            num_samples=self.config.evaluation.eval_samples,
            reference=split,
            num_reconstructions=0,
            cache=default_folder(),
        )
        self.evaluator = Evaluator(
            self.extractor,
            self.protocol,
            self.accelerator,
            progress=False,
            distances_alone=True,
        )
        count = self.protocol.num_samples
        self.num_reference = count if count < len(held_out) else None
        rows = choose_rows(
            len(held_out),
            self.num_reference,
            "--eval-samples",
            f"the {split} split of {self.config.data.dataset}",
        )
        # One by one: of a large folder only those that are needed are read.
        taken, reference = zip(*map(held_out.read, rows.tolist()), strict=True)
        labels = None
        if classes and held_out.labels is not None:
            labels = RealLabels(held_out.class_names, held_out.labels[torch.tensor(taken)])
        self.images = RealImages(
            as_uint8(torch.stack(reference)), held_out=None, training=None, labels=labels
        )

    def start(self, networks: Networks, best_file: Path, step: int) -> None:
        """Compute what all evaluations share, and read the distance of `best_file`.

        `networks` are those that samples come from, decoder and learned prior, with any weights;
        `step` is where the run begins.
        """
        self.cost, self.first_step, self.warned = EvaluationCost(), step, False
        logger.info(self._described())
        self.evaluator.reference_features(self.images)
        self.best = self._judge_best(copy.deepcopy(networks), best_file)
        self.cost.is_prepared()

    def due(self, step: int) -> bool:
        """Whether to evaluate after `step`, counted from 1; to be called by all processes.

        With `auto`, every `log_every` steps the main process's clock decides.
        """
        every = self.config.evaluation.eval_every
        if every != "auto":
            return step % every == 0
        return step % self.config.output.log_every == 0 and main_decides(
            self.cost.affordable(), self.accelerator
        )

    def __call__(self, networks: Networks, step: int) -> dict[str, float]:
        """The numbers to log of `networks`, which do not change; empty but on the main process."""
        begin = time.perf_counter()
        self.record = self._measure(copy.deepcopy(networks))
        if not self.record:
            return {}
        seconds = time.perf_counter() - begin
        self.cost.took(seconds)
        distance = self.record["frechet_distance"]
        self.is_best = distance < self.best  # false for what is not a number
        if self.is_best:
            self.best = distance
        names = self.record["names"]
        frechet, kernel = names["frechet_distance"], names["kernel_distance"]
        logger.info(
            f"Step {step:,}: {frechet} {distance:.5g}, {kernel} "
            f"{self.record['kernel_distance']:.4g}, in {seconds:.1f} s"
            + (": the best so far." if self.is_best else ".")
        )
        self._warn_if_costly(step)
        return {
            f"eval/{_short(frechet)}": distance,
            f"eval/{_short(kernel)}": self.record["kernel_distance"],
            "eval/share_of_time": self.cost.share(),
        }

    def summary(self, best_file: Path) -> str:
        """The sentence at the end of a run: the time that evaluations took, and the best file."""
        where = f"; the best step's weights are in {best_file}" if math.isfinite(self.best) else ""
        return f"Evaluations took {self.cost.share():.1%} of the time{where}."

    def _measure(self, networks: Networks) -> dict[str, Any]:
        """All numbers of the samples of a copy of the main process's `networks`."""
        # Batch norm's running statistics differ between processes: the checkpoint has main's.
        if self.accelerator.num_processes > 1:
            for value in networks.decoder.state_dict().values():
                shared = value.contiguous()
                torch.distributed.broadcast(shared, src=0)
                value.copy_(shared)
        found = self.evaluator(VAEGAN(networks, self.config), self.images)
        return (
            {**found["generation"], "names": found["names"], **self._conditions()} if found else {}
        )

    def _conditions(self) -> dict[str, Any]:
        """What two distances must have in common to be compared."""
        return {
            "num_samples": self.protocol.num_samples,
            "sampler": self.protocol.sampler,
            "seed": self.protocol.seed,
            "reference_sha256": tensor_digest(self.images.reference),
            "extractor": self.evaluator.extractor.record(),
        }

    def _judge_best(self, networks: Networks, best_file: Path) -> float:
        """The distance of the best checkpoint so far, infinite where there is none.

        The file itself holds the distance, so that weights and number are of one step. A distance
        that was measured with other options (they may change on resume) is measured again.
        """
        best, is_unknown = math.inf, torch.zeros(1)
        if self.accelerator.is_main_process and best_file.exists():
            content = read_inference_file(best_file)
            known = self._distance_in(content.get("evaluation"))
            if known is not None:
                best = known
            else:
                for name, module in networks.by_name().items():
                    load_weights(module, content["ema"].get(name, {}), best_file)
                is_unknown.fill_(1)
        sum_over_processes(is_unknown, self.accelerator)
        if is_unknown:
            logger.info(f"{best_file} was chosen by another measure and is judged by this one.")
            best = self._measure(networks).get("frechet_distance", math.inf)
        return best

    def _distance_in(self, record: Any) -> float | None:
        """The distance that a checkpoint's record has, if it was measured as it would be here."""
        by = self._conditions()
        try:
            if by == {name: record[name] for name in by}:
                return float(record["frechet_distance"])
        except (KeyError, TypeError, ValueError, RuntimeError):
            return None  # in a damaged file these names can hold anything
        return None

    def _warn_if_costly(self, step: int) -> None:
        """Warn once that evaluations this often take more than 5 % of the time."""
        every = self.config.evaluation.eval_every
        if every == "auto" or self.warned:
            return
        steps = step - self.first_step
        share = self.cost.share_at(every, steps)
        if share > MOST_SHARE:
            self.warned = True
            logger.warning(
                f"Evaluations every {every:,} steps take {share:.0%} of the time; with "
                f"--eval-every {self.cost.enough(steps)} or auto it would be {MOST_SHARE:.0%}, and "
                "fewer --eval-samples help too."
            )

    def _described(self) -> str:
        """What is compared with what, as the command that does the same."""
        number = "" if self.num_reference is None else f"--num-reference {self.num_reference} "
        every = self.config.evaluation.eval_every
        often = f"in {MOST_SHARE:.0%} of the time" if every == "auto" else f"every {every:,} steps"
        return (
            f"Evaluating {often} as: python evaluation/fid.py ckpt.pt --num-samples "
            f"{self.protocol.num_samples} --reference {self.protocol.reference} {number}"
            f"--num-reconstructions 0 --extractor {self.config.evaluation.eval_extractor}"
        )


def _short(name: str) -> str:
    """fid of "FID", fd of "FD (efficientnet-lite0)"."""
    return name.split()[0].lower()
