"""What identifies a head and a source, and what does not."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.cache import (
    CacheError,
    Head,
    differences,
    digest,
    fingerprint,
    first_not_finite,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
PARTS = st.dictionaries(st.text(max_size=3), JSON, max_size=4)


def test_norms_are_exact_in_double_precision():
    head = Head.from_linear(np.array([[3, 4], [1e-30, 0], [1e20, 1e20]], np.float32), None)
    expected = [5.0, float(np.float32(1e-30)), np.hypot(*[float(np.float32(1e20))] * 2)]
    np.testing.assert_allclose(head.weight_norm, expected, rtol=1e-15)
    assert head.weight_norm.dtype == np.float64
    assert head.num_classes == 3
    assert head.num_features == 2


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_type_of_the_weight_is_kept_where_the_file_can(dtype):
    head = Head.from_linear(np.ones((2, 3), dtype), np.zeros(2, dtype))
    expected = np.float32 if dtype == np.float16 else dtype
    assert head.weight.dtype == head.bias.dtype == expected


def test_the_fingerprint_of_a_head_is_that_of_its_planes():
    weight, bias = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
    known = Head.from_linear(weight, bias, [5, 1]).fingerprint()
    assert Head.from_linear(weight.copy(), bias, [7, 1]).fingerprint() == known
    others = [
        Head.from_linear(weight, None),
        Head.from_linear(weight, bias + 1),
        Head.from_linear(weight + np.eye(2, 3, dtype=np.float32), bias),
        Head.from_linear(weight[:, :2], bias),
        Head(weight_norm=np.ones(2)),
    ]
    assert len({known, *(head.fingerprint() for head in others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"weight_norm": np.ones((2, 1))}, r"weight_norm: shape \(K,\)"),
        ({"weight_norm": np.ones(0)}, r"weight_norm: shape \(K,\)"),
        ({"weight_norm": np.ones(2, np.float32)}, "weight_norm: float64 expected, got float32"),
        ({"weight_norm": np.array([1, -1.0])}, "at least 0 expected, got -1.0 for class 1"),
        ({"weight": np.ones((3, 2))}, r"weight: shape \(2, D\) expected, got \(3, 2\)"),
        ({"weight": np.ones(2)}, r"weight: shape \(2, D\) expected, got \(2,\)"),
        ({"weight": np.ones((2, 2), np.float16)}, "weight: float32 or float64 expected"),
        ({"weight": np.array([[1.0, 2], [3, np.inf]])}, "weight: finite .* got inf for class 1"),
        ({"bias": np.ones(3)}, r"bias: shape \(2,\) expected, got \(3,\)"),
        ({"prior_counts": np.ones(2, np.int64)}, "prior_counts: float64 expected, got int64"),
    ],
)
def test_heads_that_cannot_be(arrays, message):
    with pytest.raises(CacheError, match=message):
        Head(**{"weight_norm": np.ones(2), **arrays})


def test_a_vector_is_no_linear_layer():
    with pytest.raises(CacheError, match=r"weight: shape \(K, D\) expected, got \(3,\)"):
        Head.from_linear(np.ones(3), None)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_in_row_order_that_is_not_finite_is_found(bad):
    values = np.full((4, 3, 2), np.finfo(np.float16).max, np.float16)
    assert first_not_finite(values) is first_not_finite(values[:0]) is None
    values[2, 0, 1] = values[2, 1, 0] = values[3, 0, 0] = bad
    assert first_not_finite(values) == (2, 0, 1)
    assert first_not_finite(values[:, 0, 0]) == (3,)


@given(PARTS, PARTS)
def test_fingerprints_are_equal_exactly_if_nothing_differs(old, new):
    assert (fingerprint(old) == fingerprint(new)) == (differences(old, new) == [])


def test_the_fingerprint_is_sha256_of_canonical_json():
    text = '{"a":[1,"\\u00fc"],"b":null}'
    for parts in ({"b": None, "a": [1, "ü"]}, {"a": (1, "ü"), "b": None}):
        assert fingerprint(parts) == hashlib.sha256(text.encode()).hexdigest()


def test_differences_are_readable():
    old = {"seed": 1, "transforms": {"mean": [0.4], "flip": True}, "data": "d" * 64, "same": 1}
    new = {"epochs": 9, "transforms": {"mean": [0.5], "flip": True}, "data": "e" * 64, "same": 1}
    assert differences(old, new) == [
        f'data: "{"d" * 23}...{"d" * 23}" -> "{"e" * 23}...{"e" * 23}"',
        "epochs: added 9",
        "seed: removed 1",
        "transforms.mean: [0.4] -> [0.5]",
    ]


@pytest.mark.parametrize("value", [float("nan"), np.int64(3), Path("x"), {1, 2}])
def test_what_json_has_no_word_for(value):
    with pytest.raises(CacheError, match="fingerprint: JSON values expected"):
        fingerprint({"x": value})


def test_digest_sees_type_shape_and_values_but_not_layout():
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    same = [array.copy(order="F"), array.astype(">i4"), np.repeat(array, 2, axis=1)[:, ::2]]
    assert {digest(other) for other in same} == {digest(array)}
    other = [array.astype(np.int64), array.reshape(3, 2), array + 1, array[:1]]
    assert digest(array) not in {digest(changed) for changed in other}
