"""The whole training step, exactly as the trainer runs it."""

from dataclasses import replace

import torch

from benchmarks.counting import count_work
from benchmarks.plan import MODES, Case, Plan
from benchmarks.subjects import build_batch, build_learner
from benchmarks.timing import Timer

STEP = "training step"


def cases(plan: Plan) -> list[Case]:
    batch, modes = (256, plan.modes) if plan.on_gpu else (64, ["eager", "joint"])
    default = [
        Case(STEP, "gated-mixture", (32, 1), batch, precision, mode=mode)
        for precision in plan.fast_precisions
        for mode in modes
        if not (precision == "fp16" and mode == "inductor")  # refused: see learner.check_compile
    ]
    return plan.choose(default, plan.sweep([STEP], modes=plan.modes))


def test_training_step(timed: Timer, device: torch.device, case: Case) -> None:
    batch = build_batch(case, device)
    work = None
    if MODES[case.mode].get("compile"):  # a recorded step's operators cannot be watched
        eager = build_learner(replace(case, mode="eager"), device)
        work = count_work(lambda: eager.step(batch, 0))
        del eager
    learner = build_learner(case, device)
    timed(lambda: learner.step(batch, 0), images=case.batch, facts=case.facts(), work=work)
