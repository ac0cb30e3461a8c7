"""What every loss over weighted rows owes: the affine core's, DisAlign's and a whole head's."""

from dataclasses import replace

import pytest
import torch
from confidence_problems import make_featured_inputs, make_theta

from marr_pipeline.rectify.confidence import ConfidenceCrossEntropy
from marr_pipeline.rectify.head import HeadCrossEntropy
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.rows.blocks import CHUNK_LOGITS
from marr_pipeline.rectify.rows.resources import Resources

K, D = 7, 4
WEIGHTS = torch.linspace(0.2, 1.1, K).double()


def affine(inputs, weights, **options):
    return WeightedCrossEntropy(*inputs.source(), weights, **options)


def confident(inputs, weights, **options):
    logits, labels = inputs.source()
    return ConfidenceCrossEntropy(logits, inputs.features.flatten(0, 1), labels, weights, **options)


def head(inputs, weights, **options):
    _, labels = inputs.source()
    return HeadCrossEntropy(inputs.features.flatten(0, 1), labels, weights, **options)


def point_of(make, inputs):
    """A random point, in the arguments of the loss's `evaluate`."""
    theta = make_theta(inputs)
    if make is affine:
        return theta[:K], theta[K : 2 * K]
    generator = torch.Generator().manual_seed(1)
    random_head = torch.randn(K, D + 1, generator=generator, dtype=torch.float64)
    return (theta,) if make is confident else (random_head,)


@pytest.fixture(params=[affine, confident, head], ids=lambda make: make.__name__)
def make(request):
    return request.param


def assert_near(one, other):
    assert one.value == pytest.approx(other.value, rel=1e-12)
    assert one.largest_row_loss == pytest.approx(other.largest_row_loss, rel=1e-12)
    torch.testing.assert_close(one.gradient, other.gradient)


def test_rows_of_a_class_without_weight_do_not_count(make):
    inputs = make_featured_inputs()
    weights = torch.where(torch.arange(K) == 3, 0.0, WEIGHTS)
    keep = inputs.labels != 3
    fewer = replace(
        inputs,
        logits=inputs.logits[:, keep],
        features=inputs.features[:, keep],
        labels=inputs.labels[keep],
    )
    assert_near(
        *(
            make(each, weights, reduction="weighted").evaluate(
                *point_of(make, inputs), precise=True
            )
            for each in (inputs, fewer)
        )
    )


def test_neither_threads_nor_memory_change_a_bit(make, monkeypatch):
    monkeypatch.setitem(CHUNK_LOGITS, "cpu", (2**9, 2**10))
    inputs = make_featured_inputs(num_samples=700)
    point = point_of(make, inputs)
    one = make(inputs, WEIGHTS, reduction="plain")
    bounded = make(inputs, WEIGHTS, reduction="plain", resources=Resources(memory=2**22))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        threaded = make(inputs, WEIGHTS, reduction="plain")
        expected = one.evaluate(*point, precise=False)
        for other in (bounded, threaded):
            found = other.evaluate(*point, precise=False)
            assert found.value == expected.value
            assert torch.equal(found.gradient, expected.gradient)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_with_every_row_kept_the_thinned_loss_is_the_loss(make):
    inputs = make_featured_inputs()
    point = point_of(make, inputs)
    loss = make(inputs, WEIGHTS, reduction="weighted")
    expected = loss.evaluate(*point, precise=True)
    assert_near(loss.thin(10**6).evaluate(*point, precise=True), expected)
    few = loss.thin(5)
    assert few.num_rows < loss.num_rows
    # Every class has its full weight in the estimate, so it cannot be far.
    assert few.evaluate(*point, precise=True).value == pytest.approx(expected.value, rel=0.5)


def test_a_batch_is_the_loss_of_its_rows(make):
    inputs = make_featured_inputs(num_views=1)
    rows = torch.tensor([5, 0, 17, 250, 249])
    some = replace(
        inputs,
        logits=inputs.logits[:, rows],
        features=inputs.features[:, rows],
        labels=inputs.labels[rows],
    )
    whole, alone = (make(each, WEIGHTS, reduction="weighted") for each in (inputs, some))
    point = point_of(make, inputs)
    assert_near(
        whole.subset(rows).evaluate(*point, precise=True), alone.evaluate(*point, precise=True)
    )
