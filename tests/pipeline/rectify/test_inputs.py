"""What enters a fit: class weights, the prior, and arrays that agree."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import reference_class_weights

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.rectify.inputs import class_weights, log_prior

counts_strategy = st.lists(st.integers(0, 5000), min_size=1, max_size=40).filter(any)


@given(counts_strategy, st.floats(0, 3))
def test_weights_are_equation_12(counts, gamma):
    found = class_weights(torch.tensor(counts), gamma).numpy()
    np.testing.assert_allclose(found, reference_class_weights(counts, gamma), rtol=1e-10)


def test_weights_that_overflow_are_refused():
    with pytest.raises(ConfigError, match="a finite exponent expected, got -300"):
        class_weights(torch.tensor([500, 5]), -300.0)


def test_an_absent_class_has_half_an_image_of_prior():
    prior = log_prior(torch.tensor([3.0, 0.0, 1.5])).exp()
    torch.testing.assert_close(prior, torch.tensor([0.6, 0.1, 0.3], dtype=torch.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": torch.zeros(4)}, r"bias: shape \(7,\) expected, got \(4,\)"),
        ({"weight_norm": torch.ones(6)}, r"weight_norm: shape \(7,\) expected, got \(6,\)"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"labels: shape \(\d+,\) expected"),
        ({"features": torch.zeros(1, 2, 3)}, "features: 2 views of .* samples expected"),
        ({"logits": torch.zeros(0, 5, 7)}, "at least one row expected, got 0 views"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(inputs, change, message):
    with pytest.raises(DataError, match=message):
        replace(inputs, **change)


def test_a_label_of_no_class_is_refused(inputs):
    with pytest.raises(DataError, match=r"labels: classes 0\.\.6 expected, got 1\.\.7"):
        replace(inputs, labels=inputs.labels + 1)
