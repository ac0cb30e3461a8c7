from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.rectify.rows.class_positions import class_positions


@given(st.lists(st.integers(0, 6), max_size=60))
def test_positions_are_those_of_counting_along(labels):
    seen: Counter[int] = Counter()
    counted = []
    for label in labels:
        counted.append(seen[label])
        seen[label] += 1
    found = class_positions(torch.tensor(labels, dtype=torch.int64))
    assert found.tolist() == counted
    assert found.dtype == torch.int64
