import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.bench.synthetic import SyntheticLogits, logits_in_memory
from pipeline.errors import ConfigError


@settings(max_examples=50)
@given(
    num_classes=st.integers(2, 300),
    spare=st.integers(0, 5000),
    ratio=st.floats(1.0, 1000.0),
)
def test_counts_fall_and_sum_to_the_samples(num_classes, spare, ratio):
    synthetic = SyntheticLogits(
        num_samples=num_classes + spare, num_classes=num_classes, imbalance_ratio=ratio
    )
    counts = synthetic.class_counts
    assert int(counts.sum()) == num_classes + spare
    assert bool((counts[:-1] >= counts[1:]).all())
    assert int(counts[-1]) >= 1


def test_counts_have_the_ratio_where_there_are_enough():
    counts = SyntheticLogits(num_samples=10**6, num_classes=10, imbalance_ratio=50).class_counts
    assert float(counts[0] / counts[-1]) == pytest.approx(50, rel=0.01)


def test_labels_have_the_counts_and_no_order():
    synthetic = SyntheticLogits(num_samples=2000, num_classes=11)
    counts = torch.bincount(synthetic.labels, minlength=11)
    assert torch.equal(counts, synthetic.class_counts)
    assert not torch.equal(synthetic.labels, synthetic.labels.sort().values)


@pytest.mark.parametrize(("samples", "classes"), [(3000, 7), (5000, 100), (20_000, 1000)])
def test_rows_overlap_as_a_trained_classifiers_do(samples, classes):
    synthetic = SyntheticLogits(num_samples=samples, num_classes=classes)
    logits = logits_in_memory(synthetic, dtype=torch.float32)[0]
    right = (logits.argmax(1) == synthetic.labels).double()
    assert 0.5 < float(right.mean()) < 0.8
    per_class = torch.zeros(classes, dtype=torch.float64).index_add_(0, synthetic.labels, right)
    recall = per_class / synthetic.class_counts
    third = classes // 3
    assert float(recall[:third].mean()) > float(recall[-third:].mean()) + 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_blocks_are_the_rows_in_order(monkeypatch, dtype):
    synthetic = SyntheticLogits(num_samples=100, num_classes=5, seed=3)
    monkeypatch.setattr("pipeline.bench.synthetic.BLOCK_LOGITS", 5 * 32)
    blocks = [(start, block.clone()) for start, block in synthetic.blocks()]
    assert [start for start, _ in blocks] == [0, 32, 64, 96]
    whole = logits_in_memory(synthetic, dtype=dtype)
    assert whole.shape == (1, 100, 5)
    assert torch.equal(whole[0], torch.cat([block for _, block in blocks]).to(dtype))


def test_weight_norm_and_bias_are_the_heads():
    synthetic = SyntheticLogits(num_samples=50, num_classes=5)
    for norm, row in zip(synthetic.weight_norm, synthetic.weight, strict=True):
        assert float(norm) == pytest.approx(float(row.double().norm()))
    assert synthetic.bias.shape == (5,)


def test_a_seed_decides_everything():
    def logits(seed):
        synthetic = SyntheticLogits(num_samples=60, num_classes=5, seed=seed)
        return logits_in_memory(synthetic, dtype=torch.float32)

    assert torch.equal(logits(1), logits(1))
    assert not torch.equal(logits(1), logits(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 1}, "--classes: at least 2 expected, got 1"),
        ({"num_samples": 4}, "at least one for each of 5 classes expected, got 4"),
        ({"imbalance_ratio": 0.5}, "--imbalance-ratio: a number >= 1 expected, got 0.5"),
    ],
)
def test_impossible_sets_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        SyntheticLogits(**{"num_samples": 50, "num_classes": 5, **changes})
