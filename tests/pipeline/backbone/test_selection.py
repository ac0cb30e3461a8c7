import dataclasses
import signal

import pytest
import torch
from torch import nn

from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint, restore_backbone
from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.training.saved_state import balanced_accuracy, better
from marr_pipeline.data import load_dataset
from marr_pipeline.data.normalise import Normalisation
from marr_pipeline.data.resident import ResidentSplit
from marr_pipeline.errors import ConfigError

CPU = torch.device("cpu")
UNCHANGED = Normalisation((0.0,), (1 / 255,))  # 1 / (255 std) = 1: pixels as they are


class PixelNetwork(Backbone):
    """Says the class that an image's only pixel value is."""

    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(num_classes, num_classes)

    def forward(self, images):
        said = images[:, 0, 0, 0].round().long()
        logits = nn.functional.one_hot(said, self.head.out_features).float()
        return logits, logits


def split_of(said, labels):
    images = torch.tensor(said, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    labels = torch.tensor(labels)
    return ResidentSplit(images.contiguous(), labels, torch.arange(len(labels)))


@pytest.mark.parametrize(
    ("said", "labels", "expected"),
    [
        ([0, 0, 1, 1], [0, 0, 0, 1], (2 / 3 + 1) / 2),
        ([1, 1, 1, 1], [0, 0, 0, 1], 1 / 2),
        ([0, 2], [0, 2], 1.0),  # class 1 has no image
        ([1], [0], 0.0),
    ],
)
def test_every_class_counts_the_same(said, labels, expected):
    model = PixelNetwork(3).train()
    score = balanced_accuracy(model, split_of(said, labels), normalisation=UNCHANGED, device=CPU)
    assert score == pytest.approx(expected, abs=1e-12)
    assert model.training


def test_the_first_of_equals_is_kept_as_it_was():
    model = PixelNetwork(2)
    before = model.head.weight.detach().clone()
    best = better(None, model, step=1, score=0.5)
    nn.init.zeros_(model.head.weight)
    assert torch.equal(best.model["head.weight"], before)
    assert better(best, model, step=2, score=0.5) is best
    after = better(best, model, step=3, score=0.6)
    assert (after.step, after.balanced_accuracy) == (3, 0.6)
    assert torch.equal(after.model["head.weight"], torch.zeros(2, 2))


@pytest.fixture(scope="module")
def plan(make_plan):
    """Four epochs of eight steps and a half one, the best of them kept."""
    dataset = load_dataset("digits-lt", tune_fraction=0.2)
    return dataclasses.replace(make_plan(iterations=36), dataset=dataset, select_on="tune")


@pytest.fixture(scope="module")
def kept(plan, train, tmp_path_factory):
    """The checkpoint of that run."""
    path = tmp_path_factory.mktemp("selected") / "kept.pt"
    train(plan, path)
    return load_checkpoint(path)


def test_the_best_epochs_weights_are_kept(plan, kept, train, tmp_path):
    path, weights = tmp_path / "last.pt", {}

    def remember(done, total, note=""):
        if done > 1:  # the file holds the step before
            weights[done - 1] = load_checkpoint(path)

    train(
        dataclasses.replace(plan, select_on="last"),
        path,
        checkpoint_seconds=0.0,
        progress=remember,
    )
    weights[36] = load_checkpoint(path)
    scores = {
        step: balanced_accuracy(
            restore_backbone(weights[step], where=str(step)),
            plan.dataset.tune,
            normalisation=plan.dataset.normalisation,
            device=CPU,
        )
        for step in (*range(plan.recipe.steps_per_epoch, 36, plan.recipe.steps_per_epoch), 36)
    }
    best = max(scores, key=lambda step: (scores[step], -step))
    assert (kept.selected.step, kept.selected.balanced_accuracy) == (best, scores[best])
    for name, value in weights[best].model.items():
        assert torch.equal(kept.model[name], value)
    assert kept.finished
    assert kept.record.config["select_on"] == "tune"
    assert "select_on" not in weights[36].record.config


@pytest.mark.parametrize("stop_at", [15, 16, 17])
def test_a_resumed_run_keeps_the_same(stop_at, plan, kept, train, tmp_path):
    path = tmp_path / "stopped.pt"

    def interrupt(done, total, note=""):
        if done == stop_at:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(plan, path, checkpoint_seconds=0.0, progress=interrupt)
    resumed = train(plan, path)
    assert resumed.resumed_from == stop_at
    assert resumed.selected.step == kept.selected.step
    for name, value in kept.model.items():
        assert torch.equal(resumed.model.state_dict()[name], value)
    again = train(plan, path)
    assert again.selected.balanced_accuracy == kept.selected.balanced_accuracy


def test_without_a_tune_split_there_is_nothing_to_select_on(make_plan):
    with pytest.raises(ConfigError, match="a tune split expected, got digits-lt without one; hold"):
        dataclasses.replace(make_plan(), select_on="tune")
