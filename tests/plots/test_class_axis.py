from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.class_axis import (
    LABEL_GAP,
    NAME_PITCH,
    ClassAxis,
    GroupSpan,
    readable,
    round_ranks,
    spread_labels,
)
from marr_pipeline.plots.smoothing import running_mean, running_quartiles, smoothing_window


def axis_of(counts: list[int], *, cut: int = 10, names: list[str] | None = None) -> ClassAxis:
    class_counts = np.array(counts, np.int64)
    groups = {"many": class_counts >= cut, "none": class_counts < -1, "few": class_counts < cut}
    return ClassAxis(class_counts=class_counts, groups=groups, class_names=names)


def test_equal_counts_keep_the_order_of_ids():
    axis = axis_of([5, 20, 5, 20, 0])
    assert axis.order.tolist() == [1, 3, 0, 2, 4]
    assert axis.spans == [
        GroupSpan(name="many", start=0, stop=2),
        GroupSpan(name="few", start=2, stop=5),
    ]


def test_unsigned_counts_are_not_turned_around_by_the_sign():
    counts = np.array([1, 3, 0, 2], np.uint8)
    axis = ClassAxis(class_counts=counts, groups={"all": np.ones(4, np.bool_)})
    assert axis.order.tolist() == [1, 3, 0, 2]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40))
def test_spans_cover_the_ranks_and_name_each_class_group(counts):
    axis = axis_of(counts)
    assert sorted(axis.order) == list(range(len(counts)))
    assert (np.diff(axis.class_counts[axis.order]) <= 0).all()
    by_rank = [span.name for span in axis.spans for _ in range(span.start, span.stop)]
    assert by_rank == [axis.group_names[class_id] for class_id in axis.order]
    assert "none" not in {span.name for span in axis.labelled_spans}


def test_a_scattered_group_is_labelled_once_on_its_longest_run():
    counts = np.array([9, 8, 7, 6, 5], np.int64)
    odd = np.array([True, False, True, True, False])
    axis = ClassAxis(class_counts=counts, groups={"odd": odd, "even": ~odd})
    assert [(span.name, span.start, span.stop) for span in axis.labelled_spans] == [
        ("even", 1, 2),
        ("odd", 2, 4),
    ]


def test_tick_labels_follow_the_order():
    assert axis_of([1, 30, 20], names=["a", "b", "c"]).tick_labels() == ["b", "c", "a"]
    assert axis_of([1, 30, 20]).tick_labels() == ["1", "2", "0"]


@pytest.mark.parametrize(
    ("counts", "groups", "names", "message"),
    [
        (np.zeros((2, 2), np.int64), {}, None, r"class_counts: .* got shape \(2, 2\) of int64"),
        (np.zeros(0, np.int64), {}, None, r"class_counts: .* got shape \(0,\)"),
        (np.ones(2), {}, None, r"class_counts: .* of float64"),
        (np.array([1, -1]), {}, None, r"class_counts: .* at least 0"),
        (np.array([1, 2]), {"a": np.ones(3, np.bool_)}, None, r"groups\['a'\]: \(2,\) bool"),
        (np.array([1, 2]), {"a": np.ones(2, np.int64)}, None, r"groups\['a'\]: .* of int64"),
        (np.array([1, 2]), {"a": np.array([True, False])}, None, "got class 1 in 0"),
        (np.array([1]), {"a": np.ones(1, bool), "b": np.ones(1, bool)}, None, "got class 0 in 2"),
        (np.array([1]), {"a": np.ones(1, bool)}, ["x", "y"], "class_names: 1 names .* got 2"),
    ],
)
def test_what_does_not_fit_is_refused(counts, groups, names, message):
    with pytest.raises(PlotError, match=message):
        ClassAxis(class_counts=counts, groups=groups, class_names=names)


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


def test_labels_with_room_stay_where_they_are_wanted():
    assert spread_labels([20.0, 60.0], [10.0, 10.0], length=100.0) == [20.0, 60.0]


def test_a_label_at_the_end_is_moved_inside_and_pushes_its_neighbour():
    assert spread_labels([70.0, 98.0], [30.0, 20.0], length=100.0) == [
        pytest.approx(100 - 20 - LABEL_GAP - 15),
        90.0,
    ]


@given(
    st.lists(st.tuples(st.floats(0, 300), st.floats(1, 60)), min_size=1, max_size=4),
)
def test_labels_that_fit_neither_overlap_nor_leave_the_line(labels):
    length = 300.0
    centers = sorted(center for center, _ in labels)
    widths = np.array([width for _, width in labels])
    positions = np.array(spread_labels(centers, widths.tolist(), length=length))
    left, right = positions - widths / 2, positions + widths / 2
    assert left[0] >= -1e-9
    assert right[-1] <= length + 1e-9
    assert (left[1:] - right[:-1] >= LABEL_GAP - 1e-9).all()


@pytest.mark.parametrize("num_classes", [2, 9, 17, 30, 99, 100, 365, 1000, 8142])
def test_marked_ranks_are_few_and_evenly_spaced(num_classes):
    ranks = round_ranks(num_classes)
    assert ranks[0] == 1
    assert ranks[-1] <= num_classes
    assert 1 <= len(ranks) <= 6
    assert len(set(np.diff([0, *ranks[1:]]))) <= 1


@pytest.mark.parametrize(
    ("num_classes", "has_names", "asked", "is_shown"),
    [
        (40, True, None, True),
        (41, True, None, False),
        (16, False, None, True),
        (17, False, None, False),
        (1000, True, True, True),
        (2, True, False, False),
    ],
)
def test_names_stand_along_up_to_40_classes_or_as_asked(num_classes, has_names, asked, is_shown):
    names = [f"class {i}" for i in range(num_classes)] if has_names else None
    axis = replace(axis_of([1] * num_classes, names=names), is_named=asked)
    assert axis.shows_names == is_shown


@given(st.lists(st.floats(0, 500), min_size=1, max_size=60))
def test_readable_names_stay_apart_and_none_is_left_out_without_need(places):
    places = sorted(places)
    found = readable(places)
    assert all(places[j] - places[i] >= NAME_PITCH for i, j in pairwise(found))
    near = [max(place for place in np.array(places)[found] if place <= p) for p in places]
    assert all(i in found or places[i] - place < NAME_PITCH for i, place in enumerate(near))


def test_quartiles_agree_with_those_of_each_slice_and_leave_gaps():
    values = np.random.default_rng(0).normal(size=240)
    values[100:140] = np.nan
    reach = smoothing_window(240) // 2
    slices = [values[max(0, i - reach) : i + reach + 1] for i in range(240)]
    known = [part[~np.isnan(part)] for part in slices]
    for found, share in zip(running_quartiles(values), (0.25, 0.75), strict=True):
        expected = [np.quantile(part, share) if len(part) else np.nan for part in known]
        np.testing.assert_allclose(found, running_mean(np.array(expected)))
