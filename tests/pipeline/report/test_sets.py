"""What sets are worth, by hand; when the classes of two samples come in other shares."""

import numpy as np
import pytest

from marr_pipeline.report.sets import have_other_shares, measure_sets, table_of_sets
from marr_pipeline.report.tables import terminal_table


def test_metrics_of_sets_by_hand():
    labels = np.array([0, 0, 0, 1, 2])
    found = measure_sets(
        np.array([True, True, False, True, False]),
        np.array([1, 3, 0, 2, 2]),
        labels,
        np.array([500, 50, 5, 5]),
    )
    assert found.coverage == 3 / 5
    assert found.macro == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert (found.many, found.medium, found.few) == (pytest.approx(2 / 3), 1, 0)
    assert (found.mean_size, found.median_size, found.empty) == (1.6, 2, 0.2)
    assert np.isnan(found.per_class[3])
    assert "60.0" in terminal_table(table_of_sets({"softmax": found}))


def test_shares_are_others_beyond_chance_alone(rng):
    shares = np.logspace(0, -2, 50)
    shares /= shares.sum()
    sizes = [(400, 3000)] * 300
    alike = [
        have_other_shares(*(rng.choice(50, size, p=shares) for size in pair), 50) for pair in sizes
    ]
    assert np.mean(alike) < 0.03
    assert have_other_shares(rng.choice(50, 400, p=shares), rng.integers(50, size=3000), 50)
    assert not have_other_shares(np.zeros(10, int), np.zeros(20, int), 2)
