"""Which settings change nothing in a run, by their facts.

Exempt are sizes and norms of networks that a model does not have, and `data_dir`, which
mnist5k does not read: one set of options then describes all four models, or several data sets.
"""

from collections.abc import Mapping

from vaegan.config import FACTS, Config


def without_effect(config: Config, given: Mapping[str, str]) -> str | None:
    """Which of the settings `given` change nothing in a run of `config`: one sentence, or None.

    `given` has the option of each setting, as it was written. Where several conditions do not
    hold, the sentence is about the first: the model's, then those in the order of the settings.
    """
    values = config.flat()
    idle: dict[tuple[str, str], list[str]] = {}
    # What the fewest models have is named first.
    for name in sorted(_in_order(given), key=lambda name: len(FACTS[name].models)):
        if config.model not in FACTS[name].models and not FACTS[name].ignored_elsewhere:
            idle.setdefault(("on --model {model}", ""), []).append(given[name])
    for name in _in_order(given):
        needs = FACTS[name].needs
        if needs is not None and not needs.holds(values):
            idle.setdefault((needs.place, needs.instead), []).append(given[name])
    for (place, instead), options in idle.items():
        have, them = ("have", "them") if len(options) > 1 else ("has", "it")
        return (
            f"{', '.join(options)} {have} no effect {place.format(**values)}: leave "
            f"{them} out{f', or give {instead}' if instead else ''}."
        )
    return None


def _in_order(given: Mapping[str, str]) -> list[str]:
    return [name for name in FACTS if name in given]
