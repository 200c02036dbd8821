"""Using a trained model: images per second of samples from the prior."""

import torch

from benchmarks.plan import Case, Plan
from benchmarks.subjects import autocast, build_bare
from benchmarks.timing import Timer
from vaegan.model import VAEGAN

SAMPLING = "sampling"


def cases(plan: Plan) -> list[Case]:
    batch = 1024 if plan.on_gpu else 64
    default = [
        Case(SAMPLING, "gated-mixture", (32, 1), batch),
        Case(SAMPLING, "seed", (64, 1), batch),
    ]
    return plan.choose(default, plan.sweep([SAMPLING]))


def test_sampling(timed: Timer, device: torch.device, case: Case) -> None:
    model = VAEGAN(build_bare(case, device), case.config())

    def sample() -> None:
        with autocast(case, device):
            images = model.sample(case.batch)
        assert images.shape == case.image_shape()

    timed(sample, images=case.batch, facts=case.facts())
