import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import make_inputs
from scipy.special import log_softmax

from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rows.folds import NEVER_HELD_OUT, stratified_folds
from marr_pipeline.rectify.tuning import held_out
from marr_pipeline.rectify.tuning.held_out import (
    BalancedScores,
    affine_rule,
    sample_scores,
)

labels_strategy = st.lists(st.integers(0, 6), min_size=1, max_size=60).map(torch.tensor)
deals = given(labels_strategy, st.integers(2, 6), st.integers(0, 99))


def scores_of(inputs, scale, shift, score):
    every = torch.arange(len(inputs.labels))
    return sample_scores(inputs, every, affine_rule(inputs, scale, shift), score)


def pool(labels, scores, num_classes, reference=0, parts=1):
    """`BalancedScores` of scores (P, N), added in several parts."""
    pooled = BalancedScores(num_rules=len(scores), num_classes=num_classes, reference=reference)
    for rows in torch.arange(len(labels)).tensor_split(parts):
        pooled.add(labels[rows], scores[:, rows])
    return pooled


def test_sample_scores_are_means_over_views():
    inputs = make_inputs(num_views=3)
    scale, shift = torch.linspace(0.5, 2, 7).double(), torch.linspace(-1, 1, 7).double()
    rectified = inputs.logits.double().numpy() * scale.numpy() + shift.numpy()
    labels = inputs.labels.numpy()
    rows = np.arange(len(labels))
    nll = -log_softmax(rectified, axis=2)[:, rows, labels].mean(0)
    right = (rectified.argmax(2) == labels).mean(0)
    np.testing.assert_allclose(scores_of(inputs, scale, shift, "nll"), nll, rtol=1e-12)
    np.testing.assert_allclose(scores_of(inputs, scale, shift, "accuracy"), right)


@pytest.mark.parametrize("score", ["nll", "accuracy"])
def test_blocks_do_not_change_the_scores(score, monkeypatch):
    inputs = make_inputs()
    ones, zeros = torch.ones(7).double(), torch.zeros(7).double()
    whole = scores_of(inputs, ones, zeros, score)
    monkeypatch.setattr(held_out, "BLOCK_LOGITS", 7 * 13)
    assert torch.equal(scores_of(inputs, ones, zeros, score), whole)


def test_a_hopeless_sample_has_a_finite_nll_and_a_tie_goes_to_the_first():
    inputs = FitInputs(
        logits=torch.tensor([[[1e4, 0.0], [2.0, 2.0], [2.0, 2.0]]]),
        labels=torch.tensor([1, 0, 1]),
        weight_norm=torch.ones(2).double(),
        class_counts=torch.tensor([1, 2]),
        prior_counts=torch.tensor([1, 2]),
    )
    ones, zeros = torch.ones(2).double(), torch.zeros(2).double()
    assert scores_of(inputs, ones, zeros, "nll").tolist() == pytest.approx(
        [1e4, math.log(2), math.log(2)]
    )
    assert scores_of(inputs, ones, zeros, "accuracy").tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("parts", [1, 3])
def test_every_class_counts_alike_and_an_absent_one_not_at_all(parts):
    labels = torch.tensor([0, 0, 0, 0, 2])
    scores = torch.tensor([[1.0, 2.0, 3.0, 6.0, 10.0], [0.0, 0.0, 0.0, 0.0, 1.0]]).double()
    pooled = pool(labels, scores, num_classes=4, parts=parts)
    assert pooled.num_scored_classes == 2
    assert pooled.scores().tolist() == [(3.0 + 10.0) / 2, 0.5]


def test_standard_error_is_that_of_a_mean_of_class_means():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 50 + [1] * 5 + [2] * 2 + [3])
    scores = torch.randn((3, len(labels)), generator=generator, dtype=torch.float64)
    surplus = (scores[2] - scores[1]).numpy()
    variances = [surplus[labels == label].var(ddof=1) for label in (0, 1, 2)]
    variances.append(np.mean(variances))  # the single sample's
    expected = np.sqrt(sum(v / n for v, n in zip(variances, (50, 5, 2, 1), strict=True))) / 4
    pooled = pool(labels, scores, num_classes=4, reference=1, parts=4)
    assert pooled.standard_error(2) == pytest.approx(expected, rel=1e-9)
    assert pooled.standard_error(1) == 0.0


def test_one_sample_a_class_takes_the_variance_between_classes():
    labels = torch.arange(4)
    scores = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 6.0]]).double()
    pooled = pool(labels, scores, num_classes=4)
    expected = np.std([1, 2, 3, 6], ddof=1) / 2
    assert pooled.standard_error(1) == pytest.approx(expected)
    assert pool(labels[:1], scores[:, :1], num_classes=1).standard_error(1) == 0.0


@deals
def test_folds_partition_all_but_the_only_samples_of_their_class(labels, num_folds, seed):
    folds = stratified_folds(labels, num_folds=num_folds, seed=seed)
    sizes = torch.bincount(labels)
    assert torch.equal(folds == NEVER_HELD_OUT, sizes[labels] == 1)
    held_out = folds[folds != NEVER_HELD_OUT]
    expected = min(num_folds, int(sizes.max())) if sizes.max() > 1 else 0
    assert held_out.unique().tolist() == list(range(expected))  # none is empty


@deals
def test_every_class_is_in_every_training_part(labels, num_folds, seed):
    folds = stratified_folds(labels, num_folds=num_folds, seed=seed)
    for fold in range(int(folds.max()) + 1):
        assert torch.equal(labels[folds != fold].unique(), labels.unique())


@deals
def test_a_class_is_spread_as_evenly_as_its_size_allows(labels, num_folds, seed):
    folds = stratified_folds(labels, num_folds=num_folds, seed=seed)
    count = int(folds.max()) + 1
    for label in labels.unique():
        dealt = folds[labels == label]
        if len(dealt) == 1:
            continue
        in_fold = torch.bincount(dealt, minlength=count)
        assert in_fold.max() - in_fold.min() <= 1
        assert int((in_fold > 0).sum()) == min(len(dealt), count)


def test_small_classes_do_not_crowd_the_same_folds():
    labels = torch.cat([torch.arange(100).repeat_interleave(2), torch.full((50,), 100)])
    folds = stratified_folds(labels, num_folds=5, seed=0)
    pairs = torch.bincount(folds[:200], minlength=5)
    assert pairs.min() > 20  # 40 expected
