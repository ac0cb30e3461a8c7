import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.inputs import LEFT_OUT
from marr_pipeline.rectify.prior.match import matching_shift

SHARES = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()


@pytest.fixture
def logits(rng):
    return torch.from_numpy(3 * rng.normal(size=(500, 4)) + [2, 1, 0, -1])


def test_shifts_are_those_that_scipy_finds(logits):
    rows, shares = logits.numpy(), SHARES.numpy()
    judge = minimize(
        lambda shift: logsumexp(rows + shift, axis=1).mean() - shares @ shift,
        np.zeros(4),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    np.testing.assert_allclose(matching_shift(logits, SHARES), judge.x - judge.x.mean(), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("views", [1, 3])
def test_the_mean_prediction_is_what_was_asked_for(logits, dtype, views):
    rows = logits.to(dtype).expand(views, -1, -1)
    shift = matching_shift(rows, SHARES)
    mean = (rows.double() + shift).softmax(-1).mean((0, 1))
    torch.testing.assert_close(mean, SHARES, atol=1e-6, rtol=0)
    assert float(shift.mean()) == pytest.approx(0, abs=1e-12)


def test_many_classes_held_in_float32(rng):
    rows = torch.from_numpy(rng.normal(size=(45_000, 100)).astype(np.float32))
    shares = torch.linspace(1, 3, 100).double()
    shares /= shares.sum()
    mean = (rows.double() + matching_shift(rows, shares)).softmax(1).mean(0)
    torch.testing.assert_close(mean, shares, atol=1e-6, rtol=0)


def test_a_class_without_a_share_is_left_out(logits):
    shares = torch.tensor([0.5, 0.0, 0.5, 0.0]).double()
    shift = matching_shift(logits, shares)
    assert shift[[1, 3]].tolist() == [LEFT_OUT, LEFT_OUT]
    mean = (logits + shift).softmax(1).mean(0)
    torch.testing.assert_close(mean, shares, atol=1e-6, rtol=0)
    alone = matching_shift(logits, torch.eye(4).double()[2])
    assert alone.tolist() == [LEFT_OUT, LEFT_OUT, 0.0, LEFT_OUT]


def test_rows_that_cannot_be_matched_are_refused(logits):
    certain = 1e4 * torch.eye(4).double()[torch.arange(100) % 3]
    with pytest.raises(DataError, match="calibrate them first"):
        matching_shift(certain, SHARES)
    with pytest.raises(DataError, match="got none"):
        matching_shift(logits[:0], SHARES)
    logits[3, 1] = float("nan")
    with pytest.raises(DataError, match="1 of 500 rows"):
        matching_shift(logits, SHARES)
