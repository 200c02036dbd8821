"""A training of this package as a contender: the trainer of `launch/train.py` with its clock."""

import tempfile
from pathlib import Path

from benchmarks.record.curve import Curve
from benchmarks.record.job import Job, Trained
from benchmarks.record.judge import ScheduledEvaluation
from vaegan.errors import UserError
from vaegan.networks import count_parameters
from vaegan.processes import build_accelerator
from vaegan.run.run_folder import RunFolder
from vaegan.run.train import build_trainer
from vaegan.run.training_data import load_training_data
from vaegan.step.learner import check_compile, check_sync_batchnorm


def train_ours(job: Job, judge: type[ScheduledEvaluation] = ScheduledEvaluation) -> Trained:
    """Train for the seconds of the schedule, judged by `judge`; the run folder is removed at the
    end.

    Raises `UserError` where the data cannot be used. A training that diverges is a result.
    """
    with tempfile.TemporaryDirectory(prefix="vaegan-record-") as place:
        config = job.config(f"{place}/run")
        accelerator = build_accelerator(config.compute.precision)
        check_compile(config, accelerator)
        check_sync_batchnorm(config, accelerator)
        evaluation = judge(config, accelerator, job.schedule)
        ended = None
        try:
            data = load_training_data(config, accelerator, evaluation)
            config = config.replace(validation_images=data.held_out)
            folder = RunFolder(Path(config.output.output_dir))
            trainer = build_trainer(config, folder, accelerator, data, evaluation, resume=False)
            evaluation.watch(trainer)
            learned = trainer.learner.bare.trained()
            try:
                trainer.fit()
            except UserError as error:  # as losses that are no longer finite: a result
                # What follows the colon is advice on the run's folder, which is removed here.
                ended = None if evaluation.is_over else str(error).split(": ")[0]
        finally:
            accelerator.end_training()
    mixed = accelerator.mixed_precision
    return evaluation.trained(
        Curve(job.contender, job.seed, tuple(evaluation.points), ended),
        precision="fp32" if mixed == "no" else mixed,
        parameters=sum(map(count_parameters, learned.values())),
    )
