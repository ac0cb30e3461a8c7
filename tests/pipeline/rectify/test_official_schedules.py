"""The tables of methods.md, sections 5.3, 6.1 and 6.2, in real steps and rates."""

import math
from dataclasses import replace

import pytest

from marr_pipeline.optim.schedule import phase_two_schedule
from marr_pipeline.rectify.official_schedules import sgd_schedule
from marr_pipeline.rectify.presets import preset_settings

SIZES = {"imagenet-lt": 115_846, "places-lt": 62_500, "inaturalist2018": 437_513}


def official(method, dataset, num_samples, preset="official", **options):
    settings = preset_settings(preset, method=method, dataset=dataset, **options)
    return sgd_schedule(settings, dataset, num_samples)


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


def test_only_retraining_draws_classes_alike():
    assert official("crt", None, 1000).sampling == "class-balanced"
    assert official("lws", None, 1000).sampling == "class-balanced"
    assert official("balanced-softmax-head", None, 1000).sampling == "instance"
    assert official("marr", None, 1000).sampling == "instance"
    drawn = official("marr", None, 1000, sampling="class-balanced")
    assert drawn == replace(official("marr", None, 1000), sampling="class-balanced")


def test_what_the_released_codes_do_not_state_follows_the_paper():
    paper = phase_two_schedule("paper", "places-lt", 62_500)
    options = {"preset": "paper", "optimizer": "sgd"}
    for method in ("marr", "lws", "temperature"):
        assert official(method, "places-lt", 62_500, **options) == paper
    head = official("crt", "places-lt", 62_500, **options)
    assert head.peak_rate == 0.1
    assert head.iterations == 10 * (62_500 // 256)


@pytest.mark.parametrize("num_samples", [1, 7, 513])
def test_small_sets_have_a_schedule_too(num_samples):
    schedule = official("crt", None, num_samples)
    assert schedule.batch_size <= num_samples
    assert schedule.iterations == 2000
    assert schedule.learning_rate(1999) >= 0
