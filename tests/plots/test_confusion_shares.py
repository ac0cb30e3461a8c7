import numpy as np

from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.confusion_shares import group_accuracies, row_shares

MATRIX = np.array([[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [2, 0, 0, 0]])


def test_shares_of_a_row_sum_to_one_and_an_empty_row_has_none():
    shares = row_shares(MATRIX)
    np.testing.assert_array_equal(shares[0], [0.75, 0.25, 0, 0])
    np.testing.assert_array_equal(shares.sum(axis=1), [1, 1, np.nan, 1])


def test_groups_average_their_classes_and_overall_counts_images():
    groups = {
        "many": np.array([True, True, False, False]),
        "nobody": np.zeros(4, np.bool_),
        "unseen": np.array([False, False, True, False]),
        "few": np.array([False, False, False, True]),
    }
    axis = ClassAxis(class_counts=np.array([9, 8, 7, 6]), groups=groups)
    accuracies = group_accuracies(MATRIX, axis)
    assert list(accuracies) == ["many", "unseen", "few", "overall"]
    np.testing.assert_array_equal(list(accuracies.values()), [0.625, np.nan, 0.0, 0.5])


def test_without_any_image_nothing_is_known():
    axis = ClassAxis(class_counts=np.array([1]), groups={"few": np.ones(1, np.bool_)})
    accuracies = group_accuracies(np.zeros((1, 1), np.int64), axis)
    np.testing.assert_array_equal(list(accuracies.values()), [np.nan, np.nan])
