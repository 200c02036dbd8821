"""Several trainings at a time, each on its share of the machine, in order."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from evaluation.trainings.shares import Share
from evaluation.trainings.training import Training

logger = logging.getLogger(__name__)


def train_all(trainings: Sequence[Training], shares: Sequence[Share]) -> None:
    """Train all that is not finished, as many at a time as there are shares.

    After a failure no other training is started. The running ones continue to their end, and then
    the failure is raised. An interruption, as by Ctrl-C, ends all running trainings.
    """
    waiting = [training for training in trainings if not training.is_finished()]
    free, failure = list(shares), None
    running: dict[Future[None], tuple[Training, Share]] = {}
    stop = threading.Event()
    pool = ThreadPoolExecutor(len(shares))
    try:
        while waiting or running:
            while free and (training := _next(waiting, [each for each, _ in running.values()])):
                waiting.remove(training)
                log = training.run.root.with_suffix(".log")
                number = trainings.index(training) + 1
                logger.info(
                    f"Training {training.name} ({number} of {len(trainings)}); its log: {log}"
                )
                share = free.pop(0)
                running[pool.submit(_fit, training, share, stop)] = training, share
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                training, share = running.pop(future)
                free.append(share)
                error = future.exception()
                if error is not None:
                    if running or failure is not None:
                        logger.warning(f"{training.name} failed, and no other is started: {error}")
                    failure, waiting = failure or error, []
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    if failure is not None:
        raise failure


def _next(waiting: Sequence[Training], running: Sequence[Training]) -> Training | None:
    """The first training whose GAN is finished, or that needs none."""
    unfinished = {other.checkpoint for other in [*waiting, *running]}
    return next((each for each in waiting if each.similarity_from not in unfinished), None)


def _fit(training: Training, share: Share, stop: threading.Event) -> None:
    share.take()
    training.fit(share, stop)
