"""What every loss over weighted rows owes: the affine core's, DisAlign's and a whole head's."""

import pytest
import torch
from problems import make_featured_inputs, make_theta, samples_of

from marr_pipeline.rectify.confidence import ConfidenceCrossEntropy
from marr_pipeline.rectify.head import HeadCrossEntropy
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.rows.blocks import CHUNK_LOGITS
from marr_pipeline.rectify.rows.resources import Resources

pytestmark = pytest.mark.usefixtures("either_way")

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
    losses = [
        make(each, weights, reduction="weighted")
        for each in (inputs, samples_of(inputs, inputs.labels != 3))
    ]
    assert_near(*(loss.evaluate(*point_of(make, inputs), precise=True) for loss in losses))


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
    whole, alone = (
        make(each, WEIGHTS, reduction="weighted") for each in (inputs, samples_of(inputs, rows))
    )
    point = point_of(make, inputs)
    assert_near(
        whole.subset(rows).evaluate(*point, precise=True), alone.evaluate(*point, precise=True)
    )


def two_rows(logits, labels):
    """Of two classes, with their logits for features."""
    counts = torch.ones(2, dtype=torch.int64)
    logits = torch.tensor(logits)[None]
    return FitInputs(
        logits=logits,
        labels=torch.tensor(labels),
        weight_norm=torch.ones(2),
        class_counts=counts,
        prior_counts=counts,
        features=logits,
    )


def shifted_by(make, shift):
    """The unrectified logits of `two_rows` and a shift, in the arguments of `is_separated`."""
    shift = torch.tensor(shift, dtype=torch.float64)
    if make is head:
        return (torch.cat([torch.eye(2).double(), shift[:, None]], 1),)
    return torch.ones(2, dtype=torch.float64), shift


@pytest.mark.parametrize("precise", [False, True])
def test_hopeless_rows_have_a_finite_exact_loss(make, precise):
    """The label's logit lies 1e4 below the other: its probability underflows in float64 too."""
    loss = make(two_rows([[1e4, 0.0], [0.0, 1e4]], [1, 0]), torch.ones(2), reduction="plain")
    point = shifted_by(make, [0.0, 0.0])
    if make is confident:
        point = (torch.cat([*point, torch.zeros(3)]),)
    found = loss.evaluate(*point, precise=precise)
    assert (found.value, found.largest_row_loss) == (1e4, 1e4)
    assert bool(found.gradient.isfinite().all())


def test_a_tie_is_not_a_separation(make):
    loss = make(two_rows([[1.0, 1.0], [0.0, 1.0]], [0, 1]), torch.ones(2), reduction="plain")
    assert not loss.is_separated(*shifted_by(make, [0.0, 0.0]))
    assert loss.is_separated(*shifted_by(make, [0.5, 0.0]))
    assert not loss.is_separated(*shifted_by(make, [1.5, 0.0]))
