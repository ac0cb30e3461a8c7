import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.plots.class_marks import LABEL_GAP, round_ranks, spread_labels


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
