from dataclasses import replace

import torch
from torch import nn

from marr_pipeline.workflows.phase_one import Network


def test_batches_with_statistics_of_their_own_are_of_images_at_random(digits):
    by_class = digits.train.ordered(digits.train.labels.argsort(stable=True))
    network = Network(
        model=nn.Identity(),
        dataset=replace(digits, train=by_class),
        config={},
        prior_counts=None,
        augmentation="crop",
        seed=0,
        device=torch.device("cpu"),
    )
    assert network.for_extraction("eval", 64).dataset.train is by_class

    found = network.for_extraction("train", 64)

    batches = found.dataset.train.labels.split(64)
    assert len(by_class.labels[:64].unique()) == 2
    assert min(len(batch.unique()) for batch in batches) >= 7
    assert [found.batch_norm_of(split) for split in ("train", "tune", "test")] == [
        "train",
        "eval",
        "eval",
    ]


def test_images_in_another_order_keep_all_that_is_theirs(digits):
    images = digits.train
    there = torch.randperm(len(images), generator=torch.Generator().manual_seed(3))
    found = images.ordered(there)
    assert torch.equal(found.images[there.argsort()], images.images)
    assert torch.equal(found.labels, images.labels[there])
    assert torch.equal(found.source_indices, images.source_indices[there])
    assert found.ids is None
