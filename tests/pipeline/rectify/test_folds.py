import torch
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.rectify.tuning.folds import NEVER_HELD_OUT, stratified_folds

labels_strategy = st.lists(st.integers(0, 6), min_size=1, max_size=60).map(torch.tensor)
deals = given(labels_strategy, st.integers(2, 6), st.integers(0, 99))


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


def test_the_seed_decides_the_deal():
    labels = torch.arange(4).repeat_interleave(20)
    first, again, other = (stratified_folds(labels, num_folds=5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
