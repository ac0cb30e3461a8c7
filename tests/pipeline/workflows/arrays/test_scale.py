"""Probabilities are told from logits by most of their rows, and become logits if that is said."""

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, softmax

from marr_pipeline.errors import DataError
from marr_pipeline.workflows.arrays.scale import as_logits

RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.standard_normal((1, 200, 10))
PROBABILITIES = softmax(LOGITS, axis=2)


def convert(scores, scale=None):
    return as_logits(scores, scale=scale, where="t")


def cut_to_bfloat16(values):
    return torch.from_numpy(values).to(torch.bfloat16).float().numpy()


def with_bad_row(values):
    changed = values.copy()
    changed[0, 17] = -3
    return changed


@pytest.mark.parametrize(
    ("scores", "kind"),
    [
        pytest.param(PROBABILITIES, "probabilities", id="plain"),
        pytest.param(PROBABILITIES.round(2), "probabilities", id="rounded"),
        pytest.param(cut_to_bfloat16(PROBABILITIES), "probabilities", id="bfloat16"),
        pytest.param(PROBABILITIES.astype(np.float16), "probabilities", id="float16"),
        pytest.param(with_bad_row(PROBABILITIES), "probabilities", id="one bad row"),
        pytest.param(100 * PROBABILITIES.round(3), "percentages", id="percentages"),
        pytest.param(np.eye(10)[LOGITS.argmax(2)], "one-hot rows", id="one-hot"),
        pytest.param(softmax(50 * LOGITS, axis=2).round(1), "probabilities", id="nearly one-hot"),
        pytest.param(expit(LOGITS), "sigmoids", id="sigmoids"),
        pytest.param(softmax(LOGITS / 5, axis=2).round(1), "sigmoids", id="rounded to 1 decimal"),
    ],
)
def test_what_is_no_logits_is_refused_whatever_a_few_rows_hold(scores, kind):
    with pytest.raises(DataError, match=f"t: logits expected, got what looks like {kind}"):
        convert(scores)
    assert convert(scores, "logits")[0] is scores  # a user's word


def test_logits_are_given_back_as_they_are():
    for logits in (LOGITS, np.abs(LOGITS), log_softmax(LOGITS, axis=2)):
        assert convert(logits)[0] is logits
        assert convert(logits)[1] == []


@pytest.mark.parametrize(("num_classes", "decimals"), [(10, 1), (100, 2), (1000, 3)])
def test_sums_may_be_off_by_what_rounding_does(num_classes, decimals):
    given = softmax(2 * RNG.standard_normal((1, 50, num_classes)), axis=2).round(decimals)
    assert np.abs(given.sum(axis=2) - 1).max() > 0.05
    logits, _ = convert(given, "probabilities")
    np.testing.assert_allclose(np.exp(logits)[given > 0], given[given > 0], rtol=1e-5)
    with pytest.raises(DataError, match="sum to 1 in each row"):
        convert(2 * given, "probabilities")


@pytest.mark.parametrize(
    ("worst", "kind"),
    [(1.0001, "probabilities"), (-0.5, "probabilities"), (80, "percentages")],
)
def test_binary_probabilities_are_refused_whatever_a_few_rows_hold(worst, kind):
    scores = expit(LOGITS[:, :, :1]) * (100 if kind == "percentages" else 1)
    scores[0, 17] = worst
    with pytest.raises(DataError, match=f"looks like {kind} of the second class"):
        convert(scores)
    assert convert(scores, "logits")[0].shape == (1, 200, 2)


def test_some_rows_of_probabilities_are_told():
    mixed = LOGITS.copy()
    mixed[0, :60] = PROBABILITIES[0, :60]
    _, notes = convert(mixed)
    assert notes == ["t: 60 of 200 rows look like probabilities (all within 0..1, rows sum to 1)"]


@pytest.mark.parametrize("scale", ["probabilities", "log-probabilities"])
def test_the_softmax_of_what_is_read_is_what_was_given(scale):
    given = PROBABILITIES if scale == "probabilities" else np.log(PROBABILITIES)
    logits, notes = convert(given, scale)
    assert logits.dtype == np.float32
    assert notes == []
    np.testing.assert_allclose(softmax(logits, axis=2), PROBABILITIES, rtol=1e-5)


@pytest.mark.parametrize("scale", ["probabilities", "log-probabilities"])
def test_exact_zeros_are_counted_and_become_half_the_least_of_the_others(scale):
    rounded = PROBABILITIES.round(3)
    zeros = rounded == 0
    with np.errstate(divide="ignore"):
        given = rounded if scale == "probabilities" else np.log(rounded)
    logits, (note,) = convert(given, scale)
    assert note.startswith(f"t: {zeros.sum():,} probabilities in {zeros.any(2).sum()} of 200 rows")
    np.testing.assert_allclose(logits[zeros], np.log(0.0005), rtol=1e-6)
    np.testing.assert_allclose(logits[~zeros], np.log(rounded[~zeros]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("scores", "scale", "message"),
    [
        (LOGITS, "probabilities", "probabilities that sum to 1 .* got .* in row 0.* below 0"),
        (1.5 * PROBABILITIES, "probabilities", "got 1.5 in row 0"),
        (with_bad_row(PROBABILITIES), "probabilities", r"in row 17, with .* \(1 of 200 rows"),
        (100 * PROBABILITIES, "probabilities", "got 100 in row 0"),
        (np.eye(10)[LOGITS.argmax(2)], "probabilities", "got one-hot rows"),
        (LOGITS, "log-probabilities", "log-probabilities that sum to 1"),
        (PROBABILITIES, "log-probabilities", "log-probabilities that sum to 1"),
        (np.full((1, 4, 3), np.nan), "probabilities", "finite float32 expected, got nan in row 0"),
        (np.full((1, 4, 3), np.nan), "log-probabilities", "got nan in row 0"),
    ],
)
def test_what_is_not_what_it_is_said_to_be(scores, scale, message):
    with pytest.raises(DataError, match=message) as caught:
        convert(scores, scale)
    assert "\n" not in str(caught.value)


def test_scores_of_a_binary_classifier_are_zero_and_z():
    z = LOGITS[:, :, :1]
    expected = np.concatenate([np.zeros_like(z), z], axis=2)
    np.testing.assert_array_equal(convert(z)[0], expected)
    for given, scale in ((expit(z), "probabilities"), (np.log(expit(z)), "log-probabilities")):
        logits, _ = convert(given, scale)
        found = logits[..., 1] - logits[..., 0]
        np.testing.assert_allclose(found, z[..., 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (expit(LOGITS[:, :, :1]), "probabilities of the second class .* set scale"),
        (LOGITS[:, :, :1].round(), "whole numbers in a single column; .* not the predicted class"),
    ],
)
def test_single_columns_that_are_no_scores(scores, message):
    with pytest.raises(DataError, match=message):
        convert(scores)
