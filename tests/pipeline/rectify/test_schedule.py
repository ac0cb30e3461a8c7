"""The tables of methods.md, sections 2c, 5.3, 6.1 and 6.2, in real steps and rates."""

import math

import pytest

from marr_pipeline.rectify.fit import preset_settings
from marr_pipeline.rectify.schedule import sgd_schedule

SIZES = {"imagenet-lt": 115_846, "places-lt": 62_500, "inaturalist2018": 437_513}
CIFAR_SIZES = {"c10-100": 12_406, "c10-200": 11_203, "c100-100": 10_847, "c100-200": 9_502}


def official(method, dataset, num_samples, preset="official", **options):
    settings = preset_settings(preset, method=method, dataset=dataset, **options)
    return sgd_schedule(settings, dataset, num_samples)


def marr(dataset, num_samples, *, preset):
    return official("marr", dataset, num_samples, preset=preset, optimizer="sgd")


@pytest.mark.parametrize(
    ("size", "iterations", "epochs", "warmup", "first_rate"),
    [
        ("c10-100", 1840, 80, 32, 0.0484),
        ("c10-200", 1820, 91, 37, 0.0486),
        ("c100-100", 1820, 91, 37, 0.0486),
        ("c100-200", 1802, 106, 43, 0.0488),
    ],
)
def test_official_bookkeeping_on_cifar(size, iterations, epochs, warmup, first_rate):
    """The table of methods.md, section 2c."""
    schedule = marr("cifar", CIFAR_SIZES[size], preset="official")
    assert (schedule.iterations, schedule.epochs, schedule.warmup_epochs) == (
        iterations,
        epochs,
        warmup,
    )
    rates = [schedule.learning_rate(step) for step in range(schedule.iterations)]
    assert rates[0] == pytest.approx(first_rate, abs=5e-5)
    assert max(rates) == pytest.approx(0.1)


def test_official_rates_change_by_epoch():
    """By hand, CIFAR-10-LT at 100: 32 epochs of warm-up and 48 of cosine, 23 steps each."""
    schedule = marr("cifar10-lt", CIFAR_SIZES["c10-100"], preset="official")
    rates = [schedule.learning_rate(23 * epoch + 22) for epoch in range(80)]
    assert rates[0] == pytest.approx(0.05 - 0.05 / 31)
    assert rates[1] == pytest.approx(0.05)
    assert rates[31] == pytest.approx(0.05 + 30 * 0.05 / 31)
    assert rates[32] == pytest.approx(0.1)
    assert rates[56] == pytest.approx(0.05)  # half of the cosine
    assert [schedule.learning_rate(23 * epoch) for epoch in range(80)] == rates


def test_the_paper_falls_from_its_first_rate_to_zero_by_step():
    schedule = marr(None, 12_406, preset="paper")
    assert schedule.iterations == 2000
    assert schedule.learning_rate(0) == pytest.approx(0.05)
    assert schedule.learning_rate(1000) == pytest.approx(0.025)
    assert schedule.learning_rate(1999) < 1e-6
    assert schedule.steps_per_epoch == 25


@pytest.mark.parametrize("preset", ["paper", "official"])
@pytest.mark.parametrize("num_samples", [1, 7, 500, 700])
def test_small_sets_have_marrs_schedule_too(preset, num_samples):
    schedule = marr(None, num_samples, preset=preset)
    assert schedule.batch_size <= num_samples
    assert schedule.steps_per_epoch >= 1
    assert schedule.learning_rate(schedule.iterations - 1) >= 0


@pytest.mark.parametrize(
    ("method", "dataset", "peak", "batch_size", "epochs"),
    [
        ("crt", "imagenet-lt", 0.2, 512, 10),
        ("crt", "places-lt", 0.1, 256, 10),
        ("crt", "inaturalist2018", 0.2, 512, 30),
        ("lws", "imagenet-lt", 0.2, 512, 5),
        ("lws", "places-lt", 0.1, 256, 5),
        ("lws", "inaturalist2018", 0.2, 512, 5),
        ("balanced-softmax-head", "places-lt", 0.02, 256, 10),
        ("balanced-softmax-head", "imagenet-lt", 0.2, 512, 10),
    ],
)
def test_large_sets(method, dataset, peak, batch_size, epochs):
    schedule = official(method, dataset, SIZES[dataset])
    steps = SIZES[dataset] // batch_size
    assert (schedule.batch_size, schedule.epochs) == (batch_size, epochs)
    assert (schedule.steps_per_epoch, schedule.iterations) == (steps, epochs * steps)
    rates = [schedule.learning_rate(epoch * steps) for epoch in range(epochs)]
    expected = [peak * (1 + math.cos(math.pi * (e + 1) / epochs)) / 2 for e in range(epochs)]
    assert rates == pytest.approx(expected, abs=1e-15)
    assert rates[-1] == 0.0
    assert schedule.learning_rate(steps - 1) == schedule.learning_rate(0)


@pytest.mark.parametrize("method", ["crt", "lws", "balanced-softmax-head"])
@pytest.mark.parametrize("num_samples", [12_406, 9_502])
def test_cifar_runs_the_steps_that_it_names(method, num_samples):
    schedule = official(method, "cifar10-lt", num_samples)
    assert (schedule.iterations, schedule.batch_size) == (2000, 512)
    rates = [schedule.learning_rate(step) for step in range(2000)]
    assert max(rates) == rates[0] == pytest.approx(0.1, rel=2e-3)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.0, abs=1e-17)


def test_what_the_released_codes_do_not_state_follows_the_paper():
    paper = marr("places-lt", 62_500, preset="paper")
    options = {"preset": "paper", "optimizer": "sgd"}
    for method in ("marr", "lws", "temperature"):
        assert official(method, "places-lt", 62_500, **options) == paper
    head = official("crt", "places-lt", 62_500, **options)
    assert head.peak_rate == 0.1
    assert head.iterations == 10 * (62_500 // 256)
