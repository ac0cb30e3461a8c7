import math

import pytest
import torch

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.prior.target import with_prior
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier

K, D = 4, 3
PRIOR = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
TARGET = torch.tensor([1.0, 0.0, 5.0, 2.0]).double()


@pytest.fixture
def rectifier():
    return Rectifier(
        scale=torch.linspace(0.5, 1.5, K).double(),
        shift=torch.arange(K).double(),
        log_prior=PRIOR.log(),
        metadata={"method": "vector-scaling"},
    )


def test_probabilities_follow_bayes_rule(rectifier, rng):
    logits = torch.from_numpy(rng.normal(size=(20, K)))
    likelihood = rectifier.apply(logits).softmax(1) / PRIOR
    expected = likelihood * TARGET
    expected /= expected.sum(1, keepdim=True)
    moved = with_prior(rectifier, TARGET.log())
    torch.testing.assert_close(moved.apply(logits).softmax(1), expected)
    torch.testing.assert_close(moved.log_prior.exp(), TARGET / 8)
    assert bool((moved.apply(logits).softmax(1)[:, 1] == 0).all())
    assert bool(moved.shift.isfinite().all() & moved.log_prior.isfinite().all())


def test_a_second_move_undoes_the_first_also_of_a_class_left_out(rectifier):
    there = with_prior(rectifier, TARGET.log())
    back = with_prior(there, rectifier.log_prior)
    torch.testing.assert_close(back.shift, rectifier.shift, atol=1e-10, rtol=0)


def test_a_whole_head_stays_one(rng):
    head = HeadRectifier(
        scale=torch.ones(K).double(),
        shift=torch.zeros(K).double(),
        weight=torch.from_numpy(rng.normal(size=(K, D))),
        bias=torch.zeros(K).double(),
        log_prior=torch.full((K,), -math.log(K)).double(),
        metadata={"method": "head"},
    )
    features = torch.from_numpy(rng.normal(size=(5, D)))
    moved = with_prior(head, PRIOR.log())
    torch.testing.assert_close(
        moved.apply(None, features), head.apply(None, features) + (K * PRIOR).log()
    )


def test_one_without_a_prior_is_refused_by_name():
    zeros = torch.zeros(K).double()
    rectifier = Rectifier(scale=zeros, shift=zeros, metadata={"method": "tau-norm"})
    with pytest.raises(DataError, match="got one of tau-norm, which says none"):
        with_prior(rectifier, PRIOR.log())
