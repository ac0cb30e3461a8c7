"""SGD's schedules, the tables of methods.md, sections 2c, 5.3, 6.1 and 6.2; and what it draws."""

import math
from itertools import islice

import pytest
import torch
from problems import make_head_inputs, samples_of, without_class

from marr_pipeline.rectify.fit import preset_settings
from marr_pipeline.rectify.head import HeadCrossEntropy
from marr_pipeline.rectify.schedule import (
    class_balanced_batches,
    instance_batches,
    sgd_schedule,
)
from marr_pipeline.rectify.settings import RectifySettings

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


UNWEIGHTED = RectifySettings(gamma=0.0, reduction="plain")
LABELS = torch.tensor([0] * 7 + [1] * 2 + [3] * 5)


def balanced(batch_size, *, count, labels=LABELS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(
        islice(class_balanced_batches(labels, batch_size=batch_size, generator=generator), count)
    )


def test_an_epoch_holds_every_sample_once_and_the_ragged_batch_last():
    generator = torch.Generator().manual_seed(0)
    batches = instance_batches(10, batch_size=4, steps_per_epoch=3, generator=generator)
    first, second = list(islice(batches, 3)), list(islice(batches, 3))
    for epoch in (first, second):
        assert [len(batch) for batch in epoch] == [4, 4, 2]
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    assert not torch.equal(torch.cat(first), torch.cat(second))


def test_a_class_drawn_gives_four_images_of_its_own_run():
    """By hand: three classes that have images, so a batch of 12 is one round of the classes."""
    draws = torch.cat(balanced(12, count=14)).view(-1, 4)
    classes = LABELS[draws]
    assert torch.equal(classes, classes[:, :1].expand_as(classes))
    for batch in classes[:, 0].view(14, 3).tolist():
        assert sorted(batch) == [0, 1, 3]
    for label, size in ((0, 7), (1, 2), (3, 5)):
        run = draws[classes[:, 0] == label].flatten()
        whole = run[: len(run) // size * size].view(-1, size)
        for once_round in whole.tolist():
            assert sorted(once_round) == (label == LABELS).nonzero()[:, 0].tolist()
    orders = [tuple(batch) for batch in classes[:, 0].view(14, 3).tolist()]
    assert len(set(orders)) > 1


def test_the_run_goes_on_where_a_batch_ends():
    """Batches that four does not divide cut a class's draw in two."""
    assert torch.equal(torch.cat(balanced(5, count=12)), torch.cat(balanced(12, count=5)))


def test_a_batch_of_512_from_10_classes_has_48_to_56_of_each():
    labels = torch.repeat_interleave(torch.arange(10), torch.tensor([500] * 5 + [30] * 4 + [3]))
    for batch in balanced(512, count=40, labels=labels):
        found = torch.bincount(labels[batch], minlength=10)
        assert found.sum() == 512
        assert int(found.min()) >= 44
        assert int(found.max()) <= 60
        assert not bool((found % 4).any())


@pytest.mark.parametrize("gamma", [0.0, 0.7])
@pytest.mark.parametrize("reduction", ["plain", "weighted"])
def test_the_mean_over_batches_is_the_expected_loss(gamma, reduction):
    """Whole rounds of every class have it exactly."""
    sizes = torch.tensor([12, 6, 4, 3, 1])
    whole = make_head_inputs(num_views=1)
    inputs = samples_of(
        whole,
        torch.cat(
            [(whole.labels == label).nonzero()[:size, 0] for label, size in enumerate(sizes)]
        ),
    )
    labels, features, rounds = inputs.labels, inputs.features[0], 12
    assert torch.equal(torch.bincount(labels), sizes)
    generator = torch.Generator().manual_seed(0)
    draws = class_balanced_batches(labels, batch_size=4 * len(sizes), generator=generator)
    drawn = torch.zeros(len(labels))
    for batch in islice(draws, rounds):
        drawn += torch.bincount(batch, minlength=len(labels))
    head = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    settings = RectifySettings(gamma=gamma, reduction=reduction)
    own, _ = inputs.loss_weights(settings, "instance")
    rows = torch.repeat_interleave(torch.arange(len(labels)), drawn.long())
    sampled = HeadCrossEntropy(features[rows], labels[rows], own, reduction=reduction)
    weights, divided_by = inputs.loss_weights(settings, "class-balanced")
    expected = HeadCrossEntropy(features, labels, weights, reduction=divided_by)
    ours, theirs = (each.evaluate(head, precise=True) for each in (sampled, expected))
    assert ours.value == pytest.approx(theirs.value, rel=1e-12)
    torch.testing.assert_close(ours.gradient, theirs.gradient, rtol=1e-10, atol=1e-13)


def test_without_weights_the_expected_loss_is_the_weighted_mean_with_gamma_one():
    inputs = make_head_inputs()
    drawn, reduction = inputs.loss_weights(UNWEIGHTED, "class-balanced")
    weighted, _ = inputs.loss_weights(RectifySettings(gamma=1.0), "instance")
    assert reduction == "weighted"
    torch.testing.assert_close(drawn / drawn.sum(), weighted / weighted.sum())


def test_an_absent_class_is_never_drawn_and_has_no_weight():
    inputs = without_class(make_head_inputs(), 2)
    weights, _ = inputs.loss_weights(UNWEIGHTED, "class-balanced")
    assert float(weights[2]) == 0
    assert bool(torch.isfinite(weights).all())
    drawn = inputs.labels[torch.cat(balanced(16, count=9, labels=inputs.labels))]
    assert set(drawn.tolist()) == {0, 1, 3, 4}
