import numpy as np
import pytest

from marr_pipeline.plots.smoothing import running_mean, smoothing_window


@pytest.mark.parametrize(
    ("num_classes", "window"), [(1, 3), (10, 3), (100, 5), (365, 19), (1000, 51)]
)
def test_windows_are_odd_and_about_five_percent(num_classes, window):
    assert smoothing_window(num_classes) == window


def test_hand_computed_with_ends_and_gaps():
    nan = np.nan
    values = np.array([1.0, 3.0, nan, 5.0, nan, nan, nan, 8.0])
    expected = [2.0, 2.0, 4.0, 5.0, 5.0, nan, 8.0, 8.0]
    np.testing.assert_allclose(running_mean(values), expected)


@pytest.mark.parametrize("num_classes", [1, 2, 60, 1000])
def test_agrees_with_a_mean_over_each_slice(num_classes):
    values = np.random.default_rng(num_classes).normal(size=num_classes)
    reach = smoothing_window(num_classes) // 2
    expected = [values[max(0, i - reach) : i + reach + 1].mean() for i in range(num_classes)]
    np.testing.assert_allclose(running_mean(values), expected, atol=1e-12)
