"""A network with dropout trains as a function of its seed, stopped or not."""

import signal

import pytest
import torch
from torch import nn

from marr_pipeline.backbone import BACKBONES
from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint
from marr_pipeline.backbone.networks.classifier import build_classifier
from marr_pipeline.backbone.training.step import borrowed_generators, seed_dropout


def with_dropout(num_classes, *, in_channels, seed):
    def make():
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.5))
        return nn.Sequential(*pooled, nn.Linear(16 * in_channels, num_classes))

    return build_classifier("dropout", make, in_channels=in_channels, seed=seed)


@pytest.fixture
def plan(make_plan, monkeypatch):
    monkeypatch.setitem(BACKBONES, "resnet8", with_dropout)
    return make_plan(iterations=6)


def weights(path):
    return load_checkpoint(path).model["head.weight"]


def test_a_stopped_and_resumed_training_is_exact(plan, train, tmp_path):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    train(plan, tmp_path / "whole.pt")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)

    def interrupt(done, total, note=""):
        if done == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path / "a.pt", checkpoint_seconds=0.0, progress=interrupt)
    assert load_checkpoint(tmp_path / "a.pt").step == 3
    train(plan, tmp_path / "a.pt")
    assert torch.equal(weights(tmp_path / "a.pt"), weights(tmp_path / "whole.pt"))


def test_every_step_and_every_seed_draws_its_own():
    drawn = set()
    with borrowed_generators(torch.device("cpu")):
        for seed, step in ((0, 0), (0, 1), (1, 0), (1, 1)):
            seed_dropout(seed, step, torch.device("cpu"))
            drawn.add(float(torch.rand(())))
            seed_dropout(seed, step, torch.device("cpu"))
            drawn.add(float(torch.rand(())))
    assert len(drawn) == 4
