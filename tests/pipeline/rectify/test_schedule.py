import pytest

from marr_pipeline.optim.schedule import phase_two_schedule

CIFAR_SIZES = {"c10-100": 12_406, "c10-200": 11_203, "c100-100": 10_847, "c100-200": 9_502}


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
    schedule = phase_two_schedule("official", "cifar", CIFAR_SIZES[size])
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
    schedule = phase_two_schedule("official", "cifar10-lt", CIFAR_SIZES["c10-100"])
    rates = [schedule.learning_rate(23 * epoch + 22) for epoch in range(80)]
    assert rates[0] == pytest.approx(0.05 - 0.05 / 31)
    assert rates[1] == pytest.approx(0.05)
    assert rates[31] == pytest.approx(0.05 + 30 * 0.05 / 31)
    assert rates[32] == pytest.approx(0.1)
    assert rates[56] == pytest.approx(0.05)  # half of the cosine
    assert [schedule.learning_rate(23 * epoch) for epoch in range(80)] == rates


@pytest.mark.parametrize(
    ("dataset", "size", "steps", "iterations"),
    [
        ("imagenet-lt", 115_846, 451, 4_510),
        ("places-lt", 62_500, 487, 4_870),
        ("inaturalist2018", 437_513, 1_708, 51_240),
    ],
)
def test_official_bookkeeping_on_large_sets(dataset, size, steps, iterations):
    schedule = phase_two_schedule("official", dataset, size)
    assert (schedule.steps_per_epoch, schedule.iterations) == (steps, iterations)
    assert schedule.learning_rate(0) == pytest.approx(0.05)
    assert schedule.learning_rate(iterations - 1) < 0.002


def test_the_paper_falls_from_its_first_rate_to_zero_by_step():
    schedule = phase_two_schedule("paper", None, 12_406)
    assert schedule.iterations == 2000
    assert schedule.learning_rate(0) == pytest.approx(0.05)
    assert schedule.learning_rate(1000) == pytest.approx(0.025)
    assert schedule.learning_rate(1999) < 1e-6
    assert schedule.steps_per_epoch == 25


@pytest.mark.parametrize("preset", ["paper", "official"])
@pytest.mark.parametrize("num_samples", [1, 7, 500, 700])
def test_small_sets_have_a_schedule_too(preset, num_samples):
    schedule = phase_two_schedule(preset, None, num_samples)
    assert schedule.batch_size <= num_samples
    assert schedule.steps_per_epoch >= 1
    assert schedule.learning_rate(schedule.iterations - 1) >= 0
