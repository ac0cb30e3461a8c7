import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.data.longtail import hold_out, long_tail_counts, select_rows
from marr_pipeline.errors import ConfigError, DataError

CIFAR10 = {
    50: [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100],
    100: [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50],
    200: [5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25],
}
CIFAR100_ENDS = {
    50: ([500, 480, 462, 444, 426], [11, 11, 10, 10, 10], 12_608),
    100: ([500, 477, 455, 434, 415], [6, 5, 5, 5, 5], 10_847),
    200: ([500, 473, 449, 425, 403], [3, 2, 2, 2, 2], 9_502),
}


@pytest.mark.parametrize("ratio", CIFAR10)
def test_cifar10_counts_are_the_published_ones(ratio):
    counts = long_tail_counts(np.full(10, 5000), ratio)
    assert counts.tolist() == CIFAR10[ratio]


@pytest.mark.parametrize("ratio", CIFAR100_ENDS)
def test_cifar100_counts_are_the_published_ones(ratio):
    first, last, total = CIFAR100_ENDS[ratio]
    counts = long_tail_counts(np.full(100, 500), ratio)
    assert (counts[:5].tolist(), counts[-5:].tolist(), counts.sum()) == (first, last, total)


def test_classes_go_by_available_count_and_ties_by_label():
    counts = long_tail_counts(np.array([10, 40, 10, 40]), 8)
    assert counts.tolist() == [10, 40, 5, 20]


@pytest.mark.parametrize(
    ("available", "ratio", "message"),
    [
        (CIFAR10[50], 10, r"class 'b1': 3871 images expected .* 10, got 3237"),
        ([9, 0, 9], 2, r"class 'b1': .* empty class"),
        ([5], 2, "at least 2 classes expected, got 1"),
        ([500] * 3, 501, "at most 500 expected, got 501"),
        *(([5, 5], ratio, "at least 1 expected") for ratio in (0.01, 0.0, np.nan, np.inf)),
    ],
)
def test_tails_that_cannot_be_are_refused(available, ratio, message):
    names = [f"b{label}" for label in range(len(available))]
    with pytest.raises((ConfigError, DataError), match=message):
        long_tail_counts(np.array(available), ratio, class_names=names)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=6),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_subsets_have_exactly_the_counts_and_are_nested(sizes, seed, data):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    large = np.array([data.draw(st.integers(0, n)) for n in sizes])
    small = np.array([data.draw(st.integers(0, int(n))) for n in large])
    rows = select_rows(labels, large, seed)
    assert np.array_equal(np.bincount(labels[rows], minlength=len(sizes)), large)
    assert np.array_equal(rows, np.unique(rows))
    assert set(select_rows(labels, small, seed)) <= set(rows)


def test_another_seed_draws_other_rows():
    labels, counts = np.repeat(np.arange(3), 100), np.full(3, 50)
    draws = [select_rows(labels, counts, seed).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(sum),
    fraction=st.floats(0.01, 0.99),
)
def test_hold_out_leaves_every_class_an_image(sizes, fraction):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    held = np.bincount(labels[hold_out(labels, fraction, 3)], minlength=len(sizes))
    wanted = [min(max(1, round(fraction * n)), n - 1) if n > 1 else 0 for n in sizes]
    assert held.tolist() == wanted


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_outside_zero_to_one_is_refused(fraction):
    with pytest.raises(ConfigError, match=r"\[0, 1\) expected"):
        hold_out(np.zeros(9, dtype=np.int64), fraction, 0)
