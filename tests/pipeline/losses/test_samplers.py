"""Samplers against the distribution that they state."""

import numpy as np
import pytest
from scipy import stats

from marr_pipeline.losses.samplers import draw_rows

COUNTS = np.array([60, 20, 0, 9, 1])
LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(5), COUNTS))
SHARES = {
    "instance": COUNTS / 90,
    "balanced": np.array([1, 1, 0, 1, 1]) / 4,
    "square-root": np.sqrt(COUNTS) / np.sqrt(COUNTS).sum(),
    "reverse": np.array([1 / 60, 1 / 20, 0, 1 / 9, 1]) / (1 / 60 + 1 / 20 + 1 / 9 + 1),
}


def many_draws(sampler, num_draws=90, passes=400):
    generator = np.random.default_rng(1)
    return [
        draw_rows(sampler, LABELS, num_draws=num_draws, generator=generator) for _ in range(passes)
    ]


@pytest.mark.parametrize("sampler", SHARES)
def test_every_image_has_its_stated_probability(sampler):
    """Chi-square over images, from one draw of each pass, which are independent."""
    firsts = [rows[7] for rows in many_draws(sampler, passes=20_000, num_draws=30)]
    expected = (SHARES[sampler][LABELS] / COUNTS[LABELS]) * len(firsts)
    found = np.bincount(firsts, minlength=len(LABELS))
    # Images of tiny expectation are pooled by class, as the test asks.
    if expected.min() < 5:
        found = np.bincount(LABELS, weights=found)
        expected = np.bincount(LABELS, weights=expected)
        found, expected = found[expected > 0], expected[expected > 0]
    assert stats.chisquare(found, expected).pvalue > 1e-3


@pytest.mark.parametrize("sampler", SHARES)
def test_a_pass_has_the_shares_and_spreads_a_class_over_its_images(sampler):
    for rows in many_draws(sampler, num_draws=90, passes=20):
        assert len(rows) == 90
        found = np.bincount(LABELS[rows], minlength=5)
        slack = 8 if sampler == "balanced" else 1
        assert np.all(np.abs(found - 90 * SHARES[sampler]) <= slack)
        times = np.bincount(rows, minlength=len(LABELS))
        for label in range(5):
            own = times[np.equal(LABELS, label)]
            if len(own):
                assert own.max() - own.min() <= 1 + (sampler == "balanced")


def test_balanced_takes_four_images_of_a_class_together():
    rows = draw_rows("balanced", LABELS, num_draws=80, generator=np.random.default_rng(0))
    groups = LABELS[rows].reshape(20, 4)
    assert (groups == groups[:, :1]).all()


def test_the_generator_decides_all():
    first, second = (many_draws("reverse", passes=2) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])
