import numpy as np
import pytest

from marr_pipeline.cache.finite import first_not_finite


@pytest.mark.parametrize("shape", [(0,), (5,), (2, 3), (2, 0, 3)])
def test_finite_numbers_have_no_place(shape):
    assert first_not_finite(np.full(shape, np.finfo(np.float32).max, np.float32)) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_in_row_order_is_found(bad):
    values = np.zeros((4, 3, 2), np.float16)
    values[2, 0, 1] = values[2, 1, 0] = values[3, 0, 0] = bad
    assert first_not_finite(values) == (2, 0, 1)
    assert first_not_finite(values[:, 0, 0]) == (3,)
