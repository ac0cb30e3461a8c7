"""What a run would take is counted and told, and nothing is touched for it."""

import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from marr_pipeline.backbone.networks.classifier import build_classifier
from marr_pipeline.workflows.estimate import (
    estimate_training,
    forward_operations,
    operations_per_second,
)
from marr_pipeline.workflows.request import PhaseOneRequest


def test_the_operations_of_a_network_are_those_counted_by_hand():
    def make():
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 36, 5))

    model = build_classifier("own", make, in_channels=3, seed=0, image_size=6)
    assert forward_operations(model, (3, 6, 6)) == 2 * (36 * 4 * 27 + 4 * 36 * 5)


def test_the_rate_is_measured_in_a_moment():
    operations_per_second(torch.device("cpu"))
    begin = time.process_time()
    assert operations_per_second(torch.device("cpu")) > 1e6
    assert time.process_time() - begin < 5


def test_published_weights_are_not_fetched_for_an_estimate(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        pytest.fail("a download")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            image = Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8))
            image.save(tmp_path / "images" / split / name / "0.png")
    before = torch.get_num_threads()
    found = estimate_training(
        PhaseOneRequest(
            dataset="folder",
            data_root=tmp_path / "images",
            backbone="torchvision:shufflenet_v2_x0_5",
            pretrained=True,
            iterations=10,
            batch_size=2,
            device="cpu",
        )
    )
    assert found.seconds > 0
    assert found.class_counts == [1, 1]
    assert not (tmp_path / "hub").exists()
    assert torch.get_num_threads() == before
