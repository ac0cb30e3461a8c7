"""What a run would take is counted and told, and nothing is touched for it."""

import time

import numpy as np
import pytest
import torch
from PIL import Image

from marr_pipeline.backbone.training.train import train_backbone
from marr_pipeline.workflows.estimate import estimate_training, training_pace
from marr_pipeline.workflows.phase_one import threads_for
from marr_pipeline.workflows.request import PhaseOneRequest
from marr_pipeline.workflows.train import plan_training


@pytest.fixture
def digits_plan():
    request = PhaseOneRequest(dataset="digits-lt", iterations=40, batch_size=32, device="cpu")
    return plan_training(request, is_dry=True)


def test_a_trial_takes_the_processor_time_of_real_steps(digits_plan, tmp_path):
    """Real ones augment, report and save besides."""
    cpu = torch.device("cpu")
    with threads_for(digits_plan.dataset):
        plan = plan_training(
            PhaseOneRequest(dataset="digits-lt", iterations=40, batch_size=32, device="cpu")
        )
        begin = time.process_time()
        train_backbone(plan, device=cpu, checkpoint=tmp_path / "a.pt")
        real = (time.process_time() - begin) / 40
    assert real / 3 < training_pace(digits_plan, cpu).step < 1.5 * real


def test_a_trial_changes_nothing_that_is_drawn(digits_plan):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    training_pace(digits_plan, torch.device("cpu"))
    assert torch.equal(torch.random.get_rng_state(), before)


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
