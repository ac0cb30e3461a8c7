"""A tiny training run on the digits."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from marr_pipeline.backbone.training.plan import TrainingPlan, plan_recipe
from marr_pipeline.backbone.training.train import TrainedBackbone, train_backbone
from marr_pipeline.data import load_dataset
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.progress import Progress, silent
from marr_pipeline.protocols import PROTOCOLS


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose time on a second thread, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> LongTailedDataset:
    return load_dataset("digits-lt")


@pytest.fixture(scope="session")
def make_plan(digits: LongTailedDataset) -> Callable[..., TrainingPlan]:
    """A plan of few steps on the digits, by default of two epochs of nine."""

    def make(*, iterations: int = 18, seed: int = 0, batch_size: int = 64) -> TrainingPlan:
        recipe = plan_recipe(
            "default",
            PROTOCOLS["digits-lt"].recipes["default"],
            num_samples=len(digits.train),
            defaults=digits.defaults,
            iterations=iterations,
            batch_size=batch_size,
        )
        return TrainingPlan(
            dataset=digits, backbone="resnet8", recipe=recipe, seed=seed, precision=torch.float32
        )

    return make


@pytest.fixture(scope="session")
def train() -> Callable[..., TrainedBackbone]:
    """`train_backbone` on the CPU."""

    def run(
        plan: TrainingPlan,
        checkpoint: Path,
        *,
        resume: bool = True,
        checkpoint_seconds: float = 30.0,
        progress: Progress = silent,
    ) -> TrainedBackbone:
        return train_backbone(
            plan,
            device=torch.device("cpu"),
            checkpoint=checkpoint,
            resume=resume,
            checkpoint_seconds=checkpoint_seconds,
            progress=progress,
        )

    return run
