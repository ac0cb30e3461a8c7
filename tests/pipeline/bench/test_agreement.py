import pytest
import torch

from pipeline.bench.agreement import Difference, RectifiedRows, compare_rectified
from pipeline.rectify.rectifier import Rectifier


def rectified(scale, shift, logits):
    rectifier = Rectifier(scale=torch.tensor(scale).double(), shift=torch.tensor(shift).double())
    return RectifiedRows(rectifier=rectifier, logits=logits)


def test_a_difference_by_hand():
    found = Difference.between(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 5.0, -1.0]))
    assert found.largest == 4.0
    assert found.rms == pytest.approx((25 / 3) ** 0.5)


def test_a_comparison_by_hand():
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.5]])
    first = rectified([1.0, 1.0], [0.0, -1.0], logits)
    second = rectified([1.0, 1.0], [0.0, 1.0], logits)
    found = compare_rectified(first, second, torch.tensor([1, 0, 1, 1]))
    # Class 1 gains 2 over class 0: rows 0 and 3 go over to it.
    assert (found.changed, found.num_rows, found.accuracies) == (2, 4, (0.5, 1.0))
    assert found.accuracy_difference == 0.5
    gaps = torch.sigmoid(logits[:, 1] - logits[:, 0] + 1) - torch.sigmoid(
        logits[:, 1] - logits[:, 0] - 1
    )
    assert found.probabilities.largest == pytest.approx(float(gaps.max()))
    assert found.probabilities.rms == pytest.approx(float(gaps.square().mean().sqrt()))


def test_blocks_change_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 4, generator=generator)
    labels = torch.randint(4, (50,), generator=generator)
    rows = [rectified([1.0, 2.0, 0.5, 1.0], [shift, 0.0, 0.0, 0.0], logits) for shift in (0.0, 1.0)]
    whole = compare_rectified(*rows, labels)
    monkeypatch.setattr("pipeline.bench.agreement.BLOCK_LOGITS", 12)
    blocked = compare_rectified(*rows, labels)
    assert blocked.probabilities.rms == pytest.approx(whole.probabilities.rms)
    assert blocked.probabilities.largest == whole.probabilities.largest
    assert (blocked.changed, blocked.accuracies) == (whole.changed, whole.accuracies)
