"""The paper's own tables, had again by our metrics on a classifier with a row's group accuracies.

On a balanced test, overall accuracy is the mean of the groups weighted by their sizes; accuracies
are in per cent to one decimal, so that the groups may miss the overall value by 0.1.
"""

import numpy as np
import pytest

from marr_pipeline.protocols import PROTOCOLS
from marr_pipeline.report.metrics import measure
from marr_pipeline.report.scores import SampleScores

ROUNDING = 0.1 + 1e-9
TRAINING_COUNTS = (500, 50, 5)
"""Of a many-, a medium- and a few-shot class."""
SAMPLES = 1000
"""Of each class, of which as many are right as a row says."""


def measured(dataset, groups):
    """Our metrics of a classifier whose many-, medium- and few-shot accuracies are `groups`."""
    sizes = PROTOCOLS[dataset].figures[None].groups
    counts, accuracy = np.repeat(TRAINING_COUNTS, sizes), np.repeat(groups, sizes)
    num_classes = len(counts)
    labels = np.repeat(np.arange(num_classes), SAMPLES)
    rank = np.tile(np.arange(SAMPLES), num_classes)
    is_right = rank < SAMPLES / 100 * accuracy[labels]
    predicted = np.where(is_right, labels, (labels + 1) % num_classes)
    return measure(SampleScores(labels, predicted, *np.full((3, len(labels)), 0.5)), counts)


@pytest.mark.parametrize(
    ("dataset", "groups", "overall"),
    [
        ("imagenet-lt", (65.1, 35.7, 6.6), 43.1),  # softmax
        ("imagenet-lt", (60.8, 50.4, 34.7), 52.2),  # DisAlign
        ("imagenet-lt", (60.4, 50.3, 36.6), 52.3),  # MARR
        ("places-lt", (46.4, 27.9, 12.5), 31.5),
        ("places-lt", (40.0, 39.6, 32.3), 38.3),
        ("places-lt", (39.9, 39.8, 32.6), 38.4),
    ],
)
def test_published_rows_are_our_metrics(dataset, groups, overall):
    found = measured(dataset, groups)
    assert [found.many, found.medium, found.few] == pytest.approx([g / 100 for g in groups])
    assert 100 * found.overall == pytest.approx(overall, abs=ROUNDING)


def test_a_row_of_other_groups_is_not():
    """OLTR's, which its authors made with other groups."""
    assert abs(100 * measured("places-lt", (44.7, 37.0, 25.3)).overall - 35.9) > ROUNDING
