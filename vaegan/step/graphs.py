"""`--compile graph`: the whole training step as one CUDA graph.

A step of small networks or small batches is a thousand kernels of some microseconds each, and the
host cannot queue them as fast as a GPU runs them. Recorded once and replayed, the step costs the
host one call. The numbers are those of the eager step: the same kernels on the same memory.
"""

from collections.abc import Callable

import torch

from vaegan.batch import Batch
from vaegan.errors import UserError
from vaegan.updates.base import Metrics

Advance = Callable[[Batch], Metrics]


class GraphedStep:
    """`advance(batch)`, run as it is three times, then recorded, and replayed from then on.

    The first steps are real steps of the run. They create the optimiser's state and find the
    fastest convolutions. All that changes from step to step has to lie on the device: images and
    noise are copied to where the graph reads them, learning rates are filled in there. The next
    step overwrites the returned metrics.

    Of several processes each records its own step, with NCCL's all-reduces. The first steps also
    connect the processes, which cannot be recorded. torch's notes require eleven such steps for
    DistributedDataParallel, which is not used here.
    """

    EAGER_STEPS = 3

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self.steps = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        # One stream for all of these steps: memory that one stream freed is not given to another.
        self.side: torch.cuda.Stream | None = None

    def __call__(self, batch: Batch) -> Metrics:
        self.steps += 1
        if self.steps <= self.EAGER_STEPS:
            return self._run_aside(batch)
        if self.graph is None:
            self._record(batch)
            assert self.graph is not None
        self.batch.copy_(batch)
        self.graph.replay()
        return self.metrics

    def close(self) -> None:
        """Destroy the graph: NCCL waits for that before it destroys a process group."""
        if self.graph is not None:
            self.graph.reset()

    def _run_aside(self, batch: Batch) -> Metrics:
        """Recording needs a stream that is not the default one, and so do the steps before it."""
        if self.side is None:
            self.side = torch.cuda.Stream()
        side, main = self.side, torch.cuda.current_stream()
        side.wait_stream(main)
        with torch.cuda.stream(side):
            metrics = self.advance(batch)
        main.wait_stream(side)
        return metrics

    def _record(self, batch: Batch) -> None:
        self.batch = batch.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.metrics = self.advance(self.batch)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"The step cannot be recorded as a CUDA graph ({reason}): train with "
                "--compile none."
            ) from None
        self.graph = graph
