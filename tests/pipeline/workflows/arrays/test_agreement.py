"""A head that does not make the logits is refused, and what differs is said."""

import numpy as np
import pytest

from marr_pipeline.cache import Head, SplitArrays
from marr_pipeline.errors import DataError
from marr_pipeline.workflows.arrays.head import check_head_makes_logits

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((5, 8))
BIAS = RNG.standard_normal(5)
FEATURES = RNG.standard_normal((2, 300, 8))
LINEAR = FEATURES @ WEIGHT.T
ORDER = [0, 1, 4, 2, 3]


def check(logits, *, weight=WEIGHT, bias=BIAS, features=FEATURES):
    arrays = SplitArrays(logits=logits, labels=np.zeros(300, np.int64), features=features)
    check_head_makes_logits(Head.from_linear(weight, bias), arrays, where="t.npz")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_right_head_in_any_precision(dtype):
    check((LINEAR + BIAS).astype(dtype), features=FEATURES.astype(dtype))
    check(LINEAR.astype(dtype), bias=None)


def test_rounding_of_bfloat16_is_no_difference():
    """Its 8 bits of mantissa, by cutting float32."""
    cut = FEATURES.astype(np.float32).view(np.uint32) & 0xFFFF0000
    check(cut.view(np.float32) @ WEIGHT.T + BIAS)


def test_without_features_or_weight_there_is_nothing_to_compare():
    rows = SplitArrays(logits=LINEAR, labels=np.zeros(300, np.int64))
    check_head_makes_logits(Head.from_linear(WEIGHT, None), rows, where="t.npz")
    rows = SplitArrays(logits=LINEAR, labels=np.zeros(300, np.int64), features=FEATURES)
    check_head_makes_logits(Head(weight_norm=np.ones(5)), rows, where="t.npz")


@pytest.mark.parametrize(
    ("logits", "head", "message"),
    [
        (LINEAR, {}, "they are made without the bias"),
        (LINEAR + BIAS, {"bias": None}, "a bias for each class explains them, but the head lacks"),
        (LINEAR + BIAS, {"bias": -BIAS}, "explains them, but the head has another one"),
        (2.5 * (LINEAR + BIAS), {}, r"they are 2\.5 times as large"),
        (
            (LINEAR + BIAS)[:, :, ORDER],
            {},
            r"in another order \(class 2 of the logits is class 4 of the head\)",
        ),
        (LINEAR + BIAS, {"weight": WEIGHT[::-1] ** 3}, "of another model"),
        (LINEAR + BIAS, {"features": np.abs(FEATURES)}, "the features are not the head's input"),
        (LINEAR + BIAS, {"features": FEATURES[:, :, :7]}, r"as wide as the head's weight \(8\)"),
        (np.zeros_like(LINEAR), {}, "logits = features @ weight.T .* got 0 instead of"),
    ],
)
def test_what_differs_is_said(logits, head, message):
    with pytest.raises(DataError, match=message) as caught:
        check(logits, **head)
    assert str(caught.value).startswith("t.npz: ")
    assert "\n" not in str(caught.value)


def test_the_largest_difference_is_named():
    logits = (LINEAR + BIAS).copy()
    logits[1] = RNG.permutation(logits[1])
    logits[1, 299, 3] = 1000
    with pytest.raises(DataError, match=r"got 1000 instead of .* in row 299, class 3"):
        check(logits)
