"""Which images a step takes: of an epoch, of a micro-batch, of a process."""

import dataclasses
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.backbone.training.batches import (
    Epoch,
    StepBatches,
    batch_size_of,
    images_seen,
    plan_epochs,
    share_epochs,
)
from marr_pipeline.backbone.training.plan import check_batches
from marr_pipeline.data.views import ViewPass
from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.errors import ConfigError, DataError


@pytest.mark.parametrize(("num_samples", "batch_size"), [(1000, 512), (1025, 512), (7, 3), (5, 5)])
def test_an_epoch_meets_every_image_once_in_near_equal_batches(num_samples, batch_size, make_plan):
    steps = -(-num_samples // batch_size)
    recipe = dataclasses.replace(make_plan().recipe, steps_per_epoch=steps, batch_size=batch_size)
    recipe = dataclasses.replace(recipe, iterations=2 * steps)
    labels = torch.zeros(num_samples, dtype=torch.int64)
    epoch, following = plan_epochs(recipe, labels=labels, seed=0)
    sizes = np.diff(epoch.bounds)
    assert sizes.sum() == num_samples
    assert len(sizes) == steps
    assert sizes.max() - sizes.min() <= 1
    assert sizes.max() <= batch_size
    assert epoch.rows[0].sort().values.tolist() == list(range(num_samples))
    assert not torch.equal(epoch.rows, following.rows) or num_samples < 8
    assert epoch.view != following.view


LABELS = torch.tensor([0] * 15 + [1] * 6 + [2] * 2)
STREAMS = ("instance", "same", "reverse")


@pytest.mark.parametrize("first_step", [0, 1, 4, 5, 9, 10])
def test_a_resumed_run_goes_on_with_the_very_batches(first_step, make_plan):
    recipe = dataclasses.replace(make_plan().recipe, steps_per_epoch=5, iterations=11)

    def batches(first_step):
        return [
            (
                each.view.number,
                each.rows[:, start:stop].tolist(),
                each.places[:, start:stop].tolist(),
            )
            for each in plan_epochs(
                recipe, labels=LABELS, seed=1, first_step=first_step, streams=STREAMS
            )
            for start, stop in pairwise(each.bounds)
        ]

    assert len(batches(0)) == 11
    assert batches(first_step) == batches(0)[first_step:]


def batches_of(passes):
    """The rows of every batch."""
    return [
        each.rows[start:stop].tolist() for each in passes for start, stop in pairwise(each.bounds)
    ]


@given(
    sizes=st.lists(st.integers(6, 20), min_size=1, max_size=4),
    micro_batches=st.integers(1, 3),
    size=st.integers(1, 2),
)
def test_shares_are_the_very_batch_in_near_equal_parts(sizes, micro_batches, size):
    rows = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(0))
    bounds = (0, *np.cumsum(sizes).tolist())
    whole = ViewPass(rows=rows, bounds=bounds, view=None)
    epoch = Epoch(rows=rows[None], bounds=bounds, view=None, places=None)
    shares = [
        batches_of(
            share_epochs([epoch], micro_batches=micro_batches, ranks=Ranks(rank=rank, size=size))
        )
        for rank in range(size)
    ]
    assert {len(share) for share in shares} == {len(sizes) * micro_batches}
    # By step, then by micro-batch, then by rank, the parts are the batch in its order.
    parts = [part for every in zip(*shares, strict=True) for part in every]
    assert list(chain(*parts)) == rows.tolist()
    for number, batch in enumerate(batches_of([whole])):
        own = parts[number * micro_batches * size : (number + 1) * micro_batches * size]
        assert list(chain(*own)) == batch
        assert max(map(len, own)) - min(map(len, own)) <= 2
        assert min(map(len, own)) >= 1


def test_every_stream_is_divided_alike_and_stands_in_the_batch_by_itself(make_plan):
    recipe = dataclasses.replace(make_plan().recipe, steps_per_epoch=5, iterations=5)
    (epoch,) = plan_epochs(recipe, labels=LABELS, seed=1, streams=STREAMS)
    assert torch.equal(epoch.rows[0], epoch.rows[1])
    assert len(epoch.places.unique()) == 3 * 23  # a view of its own for every draw
    for rank in range(2):
        ranks = Ranks(rank=rank, size=2)
        (alone,) = share_epochs(
            plan_epochs(recipe, labels=LABELS, seed=1), micro_batches=2, ranks=ranks
        )
        (shared,) = share_epochs([epoch], micro_batches=2, ranks=ranks)
        for plain, batch in zip(batches_of([alone]), batches_of([shared]), strict=True):
            first, second, third = np.split(np.array(batch), 3)
            assert first.tolist() == plain
            assert second.tolist() == plain
            assert len(third) == len(plain)
        places = epoch.places.flatten()[shared.places]
        assert torch.equal(epoch.rows.flatten()[places], shared.rows)


def test_images_seen_are_those_of_the_steps_before(make_plan):
    recipe = dataclasses.replace(make_plan().recipe, steps_per_epoch=5, iterations=11)

    def seen(step):
        return images_seen(
            recipe,
            labels=LABELS,
            seed=1,
            step=step,
            streams=("instance",),
            micro_batches=1,
            ranks=ALONE,
        )

    counts = torch.bincount(LABELS)
    assert seen(0).tolist() == [0, 0, 0]
    assert seen(5).tolist() == counts.tolist()
    assert seen(10).tolist() == (2 * counts).tolist()
    assert seen(7).sum() == 23 + sum(batch_size_of(recipe, step, num_samples=23) for step in (0, 1))
    assert (seen(7) >= counts).all()


@pytest.mark.parametrize("drops_remainder", [True, False])
def test_the_size_of_a_batch_is_told_without_it(drops_remainder, make_plan):
    recipe = dataclasses.replace(
        make_plan().recipe,
        drops_remainder=drops_remainder,
        steps_per_epoch=4,
        batch_size=4,
        iterations=9,
    )
    labels = torch.zeros(19, dtype=torch.int64)
    passes = share_epochs(plan_epochs(recipe, labels=labels, seed=0), micro_batches=1, ranks=ALONE)
    sizes = [len(batch) for batch in batches_of(passes)]
    assert sizes == [batch_size_of(recipe, step, num_samples=19) for step in range(9)]


@pytest.mark.parametrize(
    ("micro_batches", "size", "message"),
    [
        (0, 1, "accumulate: at least 1 expected, got 0"),
        (61, 1, "at least 61 images expected for 61 micro-batches in 1 processes, got 60"),
        (31, 2, "at least 62 images expected for 31 micro-batches in 2 processes, got 60; give"),
    ],
)
def test_a_part_without_images_is_refused(micro_batches, size, message, make_plan):
    with pytest.raises(ConfigError, match=message):
        check_batches(
            make_plan().recipe,
            num_samples=482,
            micro_batches=micro_batches,
            ranks=Ranks(rank=0, size=size),
        )


def failing(num_good):
    for number in range(num_good):
        yield torch.tensor([number]), torch.tensor([0])
    raise DataError("x.png: a readable image expected")


def test_an_error_waits_until_the_good_batches_are_used():
    batches = StepBatches(failing(5), each=2)
    for step in range(2):
        assert [int(images) for images, _ in batches.take()] == [2 * step, 2 * step + 1]
        assert batches.error is None
        batches.fetch()
    assert str(batches.error) == "x.png: a readable image expected"


def test_an_error_of_the_first_batches_is_raised_at_once():
    with pytest.raises(DataError, match=r"x\.png"):
        StepBatches(failing(1), each=2).take()
