"""Settings: checked, saved, rebuilt; recipes hold the values that the table of facts has."""

import json
from typing import Any

import pytest

from tests.support.tiny import tiny_config
from vaegan.config import FACTS, SETTINGS, Config, option
from vaegan.errors import UserError
from vaegan.recipes import DATASET_DEFAULTS, RECIPES, recipe_config


@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("dataset", list(DATASET_DEFAULTS))
def test_a_saved_config_rebuilds_itself(recipe: Any, dataset: Any) -> None:
    config = recipe_config(recipe, dataset)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.replace(**config.flat()) == config
    assert set(config.flat()) == set(SETTINGS)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"image_size": 33}, "--image-size 33 is not allowed: it must be a multiple of 8"),
        ({"image_size": 1032}, "from 16 to 1024"),
        ({"latent_size": 0}, "--latent-size 0 is not allowed: it must be at least 1"),
        ({"encoder_widths": ()}, "--encoder-widths"),
        ({"encoder_widths": (1,) * 5}, "at most 4 stride-2 stages for images of 16 pixels"),
        ({"kernel": 1}, "--kernel 1"),
        ({"batch_norm_momentum": 0.0}, "--batch-norm-momentum"),
        ({"beta": -1.0}, "--beta -1.0 is not allowed: it must be 0 or more"),
        ({"gamma": float("nan")}, "--gamma nan"),
        ({"lr": 0.0}, "--lr 0.0 is not allowed: it must be above 0"),
        ({"ema_decay": 1.0}, "--ema-decay"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"epochs": 0.0}, "--epochs 0.0"),
        ({"max_steps": 0}, "--max-steps 0"),
        ({"seed": -1}, "--seed -1"),
        ({"workers": -1}, "--workers -1"),
        ({"log_every": 0}, "--log-every 0"),
        ({"similarity_layer": ()}, "one to ten layers, each named once"),
        ({"similarity_layer": (0, -3)}, "--similarity-layer 0 -3 is not allowed"),
        ({"similarity_weights": (1.0, 2.0)}, "one for each of the 1 layers of --similarity-layer"),
        ({"augment": "translation,flip"}, "--augment translation,flip is not allowed"),
        ({"augment": "color,color"}, "separated by commas, each once"),
        ({"augment": ""}, "it must be none, or some of color, translation and cutout"),
        ({"r1": 10.0}, "--r1 10.0 and --r2 0.0 penalise"),
        ({"model": "gan", "r2": 1.0}, "give --discriminator-norm group or none."),
    ],
)
def test_a_bad_value_is_answered_with_what_is_allowed(
    settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        tiny_config(**settings)
    assert sentence in str(caught.value)


BOUNDED = [name for name, facts in FACTS.items() if facts.is_in_range(-(10**15)) is False]


@pytest.mark.parametrize("name", BOUNDED)
def test_a_value_just_outside_its_declared_range_is_refused_with_the_range(name: str) -> None:
    facts, usual = FACTS[name], tiny_config().flat()[name]
    outside = [
        *([] if facts.at_least is None else [facts.at_least - 1]),
        *([] if facts.above is None else [facts.above]),
        *([] if facts.at_most is None else [facts.at_most + 1]),
        *([] if facts.below is None else [facts.below]),
    ]
    assert outside
    for number in outside:
        value = (number,) * len(usual) if isinstance(usual, tuple) else number
        with pytest.raises(UserError) as caught:
            tiny_config(**{name: value})
        said = f"{option(name)} {value} is not allowed: it must be {facts.allowed}."
        assert str(caught.value) == said


def test_facts_that_name_other_settings_name_those_there_are() -> None:
    values = Config().flat()
    for name, facts in FACTS.items():
        assert facts.about, name
        assert facts.instead_of is None or facts.instead_of in SETTINGS
        if facts.needs is not None:
            assert facts.needs.holds(values) in (True, False)
            assert facts.needs.place.format(**values)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"surprise": 1}, "unknown setting surprise"),
        ({"data": {"surprise": 1}}, "unknown setting data.surprise"),
        ({"data": {"image_size": "many"}}, "data.image_size"),
        ({"data": {"image_size": 33}}, "--image-size 33 is not allowed"),
        ({"optim": {"optimizer": "sgd"}}, "optim.optimizer"),
        ({"network": 3}, "network"),
    ],
)
def test_a_broken_config_file_is_answered_with_its_first_fault(
    change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        Config.from_dict(change, "config.json")
    assert "config.json" in str(caught.value)
    assert sentence in str(caught.value)


def test_the_authors_recipe_is_the_table_of_facts() -> None:
    """Values of the author's scripts, at 64 pixels (CelebA, LFW) and at 32 (CIFAR)."""
    large, small = recipe_config("larsen2016", "folder"), recipe_config("larsen2016", "cifar10")
    assert (large.objective.gamma, small.objective.gamma) == (1e-6, 1e-5)
    assert large.objective.fakes == "samples"
    assert large.objective.likelihood == "unit-variance"
    assert large.objective.gan_loss == "minimax"
    assert (large.objective.gate, large.objective.gate_margin) == (True, 0.35)
    assert large.network.encoder_widths == (64, 128, 256)
    assert large.network.encoder_hidden == 1024
    assert large.network.decoder_widths == (256, 256, 128, 32)
    assert large.network.activation == "relu"
    assert large.optim.optimizer == "rmsprop"
    assert (large.optim.lr, large.optim.weight_decay) == (3.9e-4, 1e-5)
    assert large.optim.lr * large.optim.lr_final_factor == pytest.approx(1.6e-7)
    assert (large.training.max_steps, large.optim.lr_decay_steps) == (62_500, 62_500)
    assert large.training.batch_size == 64


def test_the_seeds_means_are_its_recipes_sums() -> None:
    """15 * mean squares against L_GAN, and KL/128 + 5 * mean squares, for F = 256 * 8 * 8."""
    config = recipe_config("seed", channels=1)
    features = 256 * 8 * 8
    sum_of_squares, kl = 7.0, 3.0
    seed_decoder = 15 * sum_of_squares / features
    assert config.objective.gamma * sum_of_squares / 2 == pytest.approx(seed_decoder)
    seed_encoder = kl / 128 + 5 * sum_of_squares / features
    ours = config.objective.beta * kl + sum_of_squares / 2
    assert ours / seed_encoder == pytest.approx(features / 10)


def test_a_setting_of_ones_own_wins_over_recipe_and_data_set() -> None:
    config = recipe_config("seed", "cifar10", image_size=32, channels=1, epochs=3.0)
    assert (config.data.image_size, config.data.channels, config.training.epochs) == (32, 1, 3.0)
    assert config.data.flip, "the data set's own default"
    assert config.objective.gamma == 30 / 4096, "the recipe's value at this size"


def test_a_config_of_the_groups_before_is_read() -> None:
    """Files of version 1 have one group `run` for what are now four."""
    config = tiny_config().replace(max_steps=7, precision="bf16", eval_samples=9, keep_last=3)
    values = config.to_dict()
    names = ("training", "compute", "output", "evaluation")
    values["run"] = {key: value for name in names for key, value in values.pop(name).items()}
    assert Config.from_dict(values) == config
    values["run"]["speed"] = 1
    with pytest.raises(UserError, match=r"unknown setting run\.speed"):
        Config.from_dict(values)


def test_a_config_with_a_single_layer_l_is_read() -> None:
    config = tiny_config(similarity_layer=(1,))
    values = config.to_dict()
    assert values["network"]["similarity_layer"] == [1]
    values["network"]["similarity_layer"] = 1
    assert Config.from_dict(values) == config
    values["network"]["similarity_layer"] = "one"
    with pytest.raises(UserError, match=r"network\.similarity_layer"):
        Config.from_dict(values)


@pytest.mark.parametrize(("model", "shift"), [("vaegan", 4), ("gan", 0), ("vae-dis", 0)])
def test_a_setting_that_was_removed_is_ignored_where_it_changed_nothing(
    model: str, shift: int
) -> None:
    extra = {"similarity_from": "gan.pt"} if model == "vae-dis" else {}
    config = tiny_config(model=model, **extra)
    values = config.to_dict()
    values["objective"]["similarity_shift"] = shift
    assert Config.from_dict(values) == config


def test_a_file_whose_results_need_a_removed_setting_is_refused() -> None:
    values = tiny_config(model="vae-dis", similarity_from="gan.pt").to_dict()
    values["objective"]["similarity_shift"] = 4
    with pytest.raises(UserError, match=r"old\.json has a vae-dis with .*similarity_shift 4,"):
        Config.from_dict(values, "old.json")
