import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.errors import ConfigError
from marr_pipeline.groups import PAPER_CUTS, parse_cuts, shot_groups


def sizes(counts, said):
    return [
        int(members.sum()) for members in shot_groups(counts, parse_cuts(said, counts)).values()
    ]


def test_the_cuts_are_the_papers_unless_told_otherwise():
    counts = np.array([101, 100, 20, 19])
    assert parse_cuts(None, counts) == PAPER_CUTS
    assert sizes(counts, None) == [1, 2, 1]
    assert sizes(counts, "50, 30") == [2, 0, 2]
    assert sizes(counts, "19,20") == [3, 0, 1]  # no class between them


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (np.arange(10), [3, 4, 3]),
        (np.array([300, 60, 14, 3]), [1, 2, 1]),
        (np.array([900, 30]), [1, 0, 1]),
        (np.array([7, 7, 7]), [0, 3, 0]),  # alike classes are in one group
        (np.array([9, 9, 9, 2, 2, 2]), [3, 0, 3]),
    ],
)
def test_auto_makes_thirds_of_the_classes(counts, expected):
    assert sizes(counts, "auto") == expected


@given(st.lists(st.integers(0, 50), min_size=2, max_size=40))
def test_auto_puts_every_class_in_one_group(counts):
    found = shot_groups(np.array(counts), parse_cuts("auto", np.array(counts)))
    assert (np.stack(list(found.values())).sum(0) == 1).all()
    assert len(set(counts)) == 1 or (found["many"].any() and found["few"].any())


@pytest.mark.parametrize("said", ["20,100", "100", "many,few", "100,20,5", "-1,0", ""])
def test_other_words_are_refused(said):
    with pytest.raises(ConfigError, match="groups: "):
        parse_cuts(said, np.array([5, 3]))
