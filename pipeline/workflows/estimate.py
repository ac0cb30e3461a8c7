"""What a run would take: time from a few of its own steps, bytes from its shapes."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from marr_pipeline.backbone.extract import extract_split
from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.training.plan import Execution, TrainingPlan
from marr_pipeline.backbone.training.train import train_backbone
from marr_pipeline.progress import duration
from marr_pipeline.workflows.phase_one import Network

TRIAL_STEPS = 4


def describe_estimate(*, num_bytes: int, seconds: float) -> str:
    """What `--dry-run` says."""
    return f"would take about {duration(seconds)} and write about {num_bytes:,} bytes"


def plan_record(network: Network, *, num_bytes: int, seconds: float) -> dict[str, Any]:
    """What `--dry-run --json` prints."""
    dataset = network.dataset
    return {
        "class_counts": dataset.class_counts.tolist(),
        "splits": {name: len(split) for name, split in dataset.splits.items()},
        "recipe": network.config.get("recipe"),
        "bytes": num_bytes,
        "seconds": seconds,
    }


def training_seconds(plan: TrainingPlan, device: torch.device, *, execution: Execution) -> float:
    """Seconds of the whole recipe, from its first steps; the trial checkpoint is thrown away."""
    recipe = plan.recipe
    few = replace(recipe, iterations=min(TRIAL_STEPS, recipe.iterations))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trial.pt"
        trial_plan = replace(plan, recipe=few, select_on="last")
        trial = train_backbone(trial_plan, device=device, checkpoint=path, execution=execution)
    assert trial.images_per_second is not None
    return recipe.iterations * recipe.batch_size / trial.images_per_second


def extraction_seconds(network: Network, *, num_views: int) -> float:
    """Seconds of extracting every row, from the first blocks."""
    blocks = extract_split(
        network.model,
        network.dataset.train,
        views=("augmented",),
        augmentation=network.augmentation,
        normalisation=network.dataset.normalisation,
        seed=network.seed,
        device=network.device,
    )
    begin = time.perf_counter()
    rows = sum(len(block.logits) for block in islice(blocks, 2))
    return (time.perf_counter() - begin) * _num_rows(network, num_views) / rows


class Forecast:
    """Says once how long a piece of work will take, from the speed of its first two blocks.

    The first one warms up and counts only where there is no second.

    Args:
        what: is done, for the line.
        num_rows: of all blocks.
        say: takes the line.
    """

    def __init__(self, what: str, *, num_rows: int, say: Callable[[str], None]) -> None:
        self._what = what
        self._num_rows = num_rows
        self._say = say
        self._moments = [(0, time.perf_counter())]

    def __call__(self, done: int) -> None:
        """To be called after every block with the rows done so far."""
        if len(self._moments) < 3:
            self._moments.append((done, time.perf_counter()))
            if len(self._moments) == 3 or done == self._num_rows:
                (before, begin), (after, end) = self._moments[-2:]
                seconds = (end - begin) / (after - before) * self._num_rows
                self._say(f"{self._what}, about {duration(seconds)}")


def checkpoint_bytes(model: Backbone) -> int:
    """Weights and as many momenta, float32."""
    return 2 * 4 * sum(parameter.numel() for parameter in model.parameters())


def cache_bytes(network: Network, *, num_views: int, store: str, dtype: str) -> int:
    """The rows of a cache; labels, head and records come on top."""
    num_classes, num_features = network.model.head.weight.shape
    width = (store != "features") * num_classes + (store != "logits") * num_features
    return int(_num_rows(network, num_views) * width * (2 if dtype == "float16" else 4))


def _num_rows(network: Network, num_views: int) -> int:
    splits = network.dataset.splits.values()
    return sum(len(split) for split in splits) + num_views * len(network.dataset.train)
