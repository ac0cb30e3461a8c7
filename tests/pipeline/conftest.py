"""Real images for the tests that need them, and tiny trainings on the digits."""

import os
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from marr_pipeline.backbone.training.plan import TrainingPlan, plan_recipe
from marr_pipeline.backbone.training.train import TrainedBackbone, train_backbone
from marr_pipeline.data import load_dataset
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.progress import Progress, silent
from marr_pipeline.protocols import PROTOCOLS
from marr_pipeline.systems import training_method

REPOSITORY = Path(__file__).resolve().parents[2]
# A fiftieth of the file's own training counts, so long-tailed at ratio 50 like the whole.
TRAIN_PER_CLASS = dict(enumerate((100, 64, 41, 27, 17, 11, 7, 4, 3, 2)))
TEST_PER_CLASS = 5


@pytest.fixture(scope="session")
def cifar10_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small part of CIFAR-10 as image folders: 276 training and 50 test images."""
    shared = Path(os.environ.get("MARR_DATA", REPOSITORY.parent / "shared" / "data"))
    archive = shared / "cifar10.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive.name}; set MARR_DATA to the folder that has it")
    root = tmp_path_factory.mktemp("cifar10")
    taken: Counter[tuple[str, str]] = Counter()
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".png"))
        classes = sorted({name.split("/")[2] for name in names})
        for name in names:
            _, split, class_name, _ = name.split("/")
            limits = (
                TRAIN_PER_CLASS if split == "train" else dict.fromkeys(range(10), TEST_PER_CLASS)
            )
            if taken[split, class_name] < limits[classes.index(class_name)]:
                taken[split, class_name] += 1
                file.extract(name, root)
    return root / "cifar10"


@pytest.fixture(scope="session")
def digits() -> LongTailedDataset:
    return load_dataset("digits-lt")


@pytest.fixture(scope="session")
def make_plan(digits: LongTailedDataset) -> Callable[..., TrainingPlan]:
    """A plan of few steps on the digits, by default of two epochs of nine."""

    def make(
        *,
        iterations: int = 18,
        seed: int = 0,
        batch_size: int = 64,
        method: str = "softmax",
        method_options: Sequence[str] = (),
    ) -> TrainingPlan:
        recipe = plan_recipe(
            "default",
            PROTOCOLS["digits-lt"].recipes["default"],
            num_samples=len(digits.train),
            defaults=digits.defaults,
            iterations=iterations,
            batch_size=batch_size,
        )
        return TrainingPlan(
            dataset=digits,
            backbone="resnet8",
            recipe=recipe,
            seed=seed,
            precision=torch.float32,
            method=training_method(method, method_options),
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
