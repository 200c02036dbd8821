"""Forward, and forward and backward, of each of the three networks."""

import torch

from benchmarks.plan import LAYOUTS, Case, Plan
from benchmarks.subjects import autocast, build_bare, build_batch
from benchmarks.timing import Timer
from vaegan.networks import Judgement, Posterior

NETWORKS = ("encoder", "decoder", "discriminator")
KINDS = [f"{n} {way}" for n in NETWORKS for way in ("forward", "forward+backward")]


def cases(plan: Plan) -> list[Case]:
    batch = 256 if plan.on_gpu else 16
    default = [
        Case(kind, "seed", (64, 1), batch, precision)
        for precision in plan.fast_precisions
        for kind in KINDS
    ]
    return plan.choose(default, plan.sweep(KINDS, layouts=LAYOUTS))


def test_core(timed: Timer, device: torch.device, case: Case) -> None:
    name, way = case.what.split()
    network = build_bare(case, device).by_name()[name]
    batch = build_batch(case, device)
    inputs = batch.noise.z_prior if name == "decoder" else batch.images

    def forward() -> torch.Tensor:
        with autocast(case, device):
            output = network(inputs)
        if isinstance(output, Posterior):
            return output.mu.sum() + output.logvar.sum()
        return output.logit.sum() if isinstance(output, Judgement) else output.sum()

    def forward_backward() -> None:
        network.zero_grad()
        forward().backward()

    def forward_alone() -> None:
        with torch.no_grad():
            forward()

    timed(
        forward_alone if way == "forward" else forward_backward,
        images=case.batch,
        facts=case.facts(),
    )
