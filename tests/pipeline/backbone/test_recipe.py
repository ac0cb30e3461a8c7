import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.backbone.training.plan import plan_recipe
from marr_pipeline.errors import ConfigError
from marr_pipeline.names import RECIPES
from marr_pipeline.protocols import PROTOCOLS, protocol_of

CIFAR = PROTOCOLS["cifar10-lt"].small
LARGE = PROTOCOLS["imagenet-lt"].large
DIGITS = PROTOCOLS["digits-lt"].small
C10_100 = 12_406


def plan(name, num_samples=C10_100, defaults=CIFAR, dataset="cifar10-lt", **overrides):
    terms = protocol_of(dataset).recipes[name]
    return plan_recipe(name, terms, num_samples=num_samples, defaults=defaults, **overrides)


def test_default_is_the_shared_recipe():
    recipe = plan("default")
    assert (recipe.iterations, recipe.batch_size, recipe.warmup) == (13_000, 512, 780)
    assert (recipe.momentum, recipe.weight_decay) == (0.9, 5e-4)
    assert recipe.augmentation == "autoaugment-cutout"
    assert recipe.learning_rate(0) == 0.05
    assert recipe.learning_rate(390) == pytest.approx(0.075)
    assert recipe.learning_rate(780) == pytest.approx(0.1)
    assert recipe.learning_rate((780 + 13_000) // 2) == pytest.approx(0.05)
    assert recipe.learning_rate(12_999) < 1e-8


def test_paper_is_a_cosine_without_warmup():
    recipe = plan("paper")
    assert (recipe.iterations, recipe.warmup, recipe.learning_rate(0)) == (13_000, 0, 0.05)
    assert recipe.learning_rate(6_500) == pytest.approx(0.025)


# The table of real step counts and first rates of the released code's four CIFAR runs.
@pytest.mark.parametrize(
    ("num_samples", "iterations", "warmup", "first"),
    [
        (12_406, 11_960, 32, 0.0484),
        (11_203, 11_820, 37, 0.0486),
        (10_847, 11_820, 37, 0.0486),
        (9_502, 11_645, 43, 0.0488),
    ],
)
def test_official_keeps_the_released_bookkeeping(num_samples, iterations, warmup, first):
    recipe = plan("official", num_samples)
    assert (recipe.iterations, recipe.warmup) == (iterations, warmup)
    assert recipe.steps_per_epoch == num_samples // 512 - 1
    assert recipe.augmentation == "autoaugment-cutout-official"
    rates = [recipe.learning_rate(step) for step in range(iterations)]
    assert round(rates[0], 4) == first
    assert rates[recipe.steps_per_epoch] == 0.05
    assert rates[warmup * recipe.steps_per_epoch] == max(rates) == 0.1
    changes = [step for step in range(1, iterations) if rates[step] != rates[step - 1]]
    assert changes == list(range(recipe.steps_per_epoch, iterations, recipe.steps_per_epoch))


# 90, 30 and 200 epochs of the published numbers of images: ceil(N / s) steps, or floor(N / s) - 1.
@pytest.mark.parametrize(
    ("dataset", "num_samples", "batch_size", "weight_decay", "iterations", "official"),
    [
        ("imagenet-lt", 115_846, 256, 5e-4, 90 * 453, 90 * 451),
        ("places-lt", 62_500, 128, 5e-4, 30 * 489, 30 * 487),
        ("inaturalist2018", 437_513, 256, 1e-4, 200 * 1710, 200 * 1708),
    ],
)
@pytest.mark.parametrize("name", RECIPES)
def test_large_datasets_have_the_papers_numbers(
    name, dataset, num_samples, batch_size, weight_decay, iterations, official
):
    recipe = plan(name, num_samples, LARGE, dataset)
    assert (recipe.batch_size, recipe.weight_decay) == (batch_size, weight_decay)
    assert recipe.iterations == (official if name == "official" else iterations)
    assert recipe.warmup == 0
    assert recipe.learning_rate(0) == 0.1
    assert recipe.learning_rate(recipe.iterations // 2) == pytest.approx(0.05, rel=0.05)
    assert 0 < recipe.learning_rate(recipe.iterations - 1) < 1e-3
    assert recipe.augmentation == "resized-crop-jitter"
    assert protocol_of(dataset).recipes[name].pretrained == (dataset == "places-lt")
    rates = [recipe.learning_rate(step) for step in range(3 * recipe.steps_per_epoch)]
    assert len(set(rates)) == (3 if name == "official" else len(rates))


def test_epochs_of_a_recipe_give_way_to_the_user():
    large = plan("paper", 115_846, LARGE, "imagenet-lt", epochs=2)
    assert large.iterations == 2 * 453
    assert plan("paper", 115_846, LARGE, "imagenet-lt", iterations=11).iterations == 11


def test_an_official_length_of_ones_own_shortens_the_warmup():
    recipe = plan("official", epochs=50)
    assert recipe.iterations == 50 * 23
    assert recipe.warmup == math.ceil(int(0.06 * 50 * 25) / 25)


@given(
    name=st.sampled_from(["default", "paper", "official"]),
    num_samples=st.integers(64, 3_000),
    iterations=st.integers(1, 500),
    batch_size=st.integers(1, 32),
)
def test_rates_rise_then_fall_and_stay_within_bounds(name, num_samples, iterations, batch_size):
    recipe = plan(name, num_samples, iterations=iterations, batch_size=batch_size)
    rates = [recipe.learning_rate(step) for step in range(recipe.iterations)]
    assert all(0 <= rate <= recipe.peak_learning_rate for rate in rates)
    top = recipe.warmup * (recipe.steps_per_epoch if recipe.by_epoch else 1)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert top <= math.ceil(0.06 * iterations) + 2 * num_samples / batch_size


def test_the_user_stands_before_the_dataset_and_it_before_the_recipe():
    assert plan("default", 500, DIGITS).iterations == 300
    assert plan("default", 500, DIGITS).batch_size == 128
    assert plan("default", 500, DIGITS).augmentation == "crop"
    mine = plan("default", 500, DIGITS, iterations=7, batch_size=16, augmentation="none")
    assert (mine.iterations, mine.batch_size, mine.augmentation) == (7, 16, "none")


def test_a_batch_is_never_larger_than_the_data():
    recipe = plan("default", 40)
    assert (recipe.batch_size, recipe.steps_per_epoch) == (40, 1)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("default", {"iterations": 5, "epochs": 5}, r"got both \(5 and 5\)"),
        ("default", {"iterations": 0}, "iterations: at least 1 expected, got 0"),
        ("default", {"epochs": 0}, "iterations: at least 1 expected, got 0"),
        ("default", {"batch_size": 0}, "batch size: at least 1 expected, got 0"),
        ("default", {"augmentation": "mixup"}, "an augmentation out of none, .* got mixup"),
        ("official", {"batch_size": 12_000}, "at least 24000 images expected"),
        ("official", {"defaults": DIGITS}, "none, crop expected .* got autoaugment-cutout-off"),
    ],
)
def test_impossible_overrides_are_refused(name, overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan(name, **overrides)


@pytest.mark.parametrize(
    "change", [{"peak_learning_rate": 0.0}, {"weight_decay": -1.0}, {"iterations": 0}]
)
def test_a_recipe_checks_itself(change):
    with pytest.raises(ConfigError, match="expected, got"):
        dataclasses.replace(plan("default"), **change)
