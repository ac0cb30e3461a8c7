import torch
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.rectify.rows.thinning import thin_rows

labels_strategy = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(torch.tensor)


@given(labels_strategy, st.integers(1, 20))
def test_kept_rows_stand_for_all_rows_of_their_class(labels, rows_per_class):
    rows, stands_for = thin_rows(labels, 7, rows_per_class)
    counts = torch.bincount(labels, minlength=7)
    kept = torch.bincount(labels[rows], minlength=7)
    assert torch.equal(kept, counts.clamp(max=rows_per_class))
    assert len(rows.unique()) == len(rows)
    torch.testing.assert_close((kept * stands_for)[counts > 0], counts[counts > 0].double())
    assert stands_for[counts == 0].tolist() == [1.0] * int((counts == 0).sum())


def test_kept_rows_are_spread_evenly():
    labels = torch.tensor([0] * 10 + [1] * 3)
    rows, stands_for = thin_rows(labels, 2, 4)
    assert rows.tolist() == [0, 2, 5, 7, 10, 11, 12]
    assert stands_for.tolist() == [2.5, 1.0]
