"""The account of what evaluations cost: on a clock that the test moves."""

from hypothesis import given, settings
from hypothesis import strategies as st

from vaegan.run.evaluation_cost import MOST_SHARE, EvaluationCost


class Run:
    """Steps of one second; evaluations of `each` seconds, whenever the account affords one."""

    def __init__(self, *, prepared: float, each: float) -> None:
        self.now, self.each = 1e6, each
        self.cost = EvaluationCost(lambda: self.now)
        self.now += prepared
        self.cost.is_prepared()

    def evaluate(self) -> None:
        self.now += self.each
        self.cost.took(self.each)

    def train(self, steps: int) -> None:
        for step in range(1, steps + 1):
            self.now += 1
            if step == steps or self.cost.affordable():
                self.evaluate()


@settings(deadline=None)  # machines are noisy
@given(
    each=st.floats(0.1, 10),
    prepared=st.floats(0, 2),
    length=st.floats(1, 20),
)
def test_what_is_afforded_stays_under_five_percent_with_the_last_step(
    each: float, prepared: float, length: float
) -> None:
    """`prepared` in evaluations; the run is `length` times as long as makes the first three free.

    A first evaluation that is dearer than was thought, and a step to the next look, are all that
    can come on top: of a run of 60 evaluations 5 % are three.
    """
    steps = int(60 * length * each * (1 + prepared)) + 1
    run = Run(prepared=prepared * each, each=each)
    run.train(steps)
    assert run.cost.share() <= MOST_SHARE
    if length > 2:
        assert run.cost.share() > 0.6 * MOST_SHARE, "and what is allowed is used"
        assert run.cost.count > 2


@settings(deadline=None)  # machines are noisy
@given(each=st.floats(0.01, 100), every=st.integers(1, 10_000))
def test_what_is_said_to_be_enough_is(each: float, every: int) -> None:
    run = Run(prepared=0, each=each)
    run.now += every
    run.evaluate()
    share = each / (each + every)
    assert abs(run.cost.share_at(every, every) - share) < 1e-6
    enough = run.cost.enough(every)
    assert each / (each + enough) <= MOST_SHARE * (1 + 1e-6)
    if share > MOST_SHARE * (1 + 1e-6):
        assert enough > every


def test_the_share_counts_what_all_evaluations_share() -> None:
    run = Run(prepared=6, each=2)
    run.now += 90
    run.evaluate()
    assert run.cost.share() == 8 / 98
    assert run.cost.each() == 2
