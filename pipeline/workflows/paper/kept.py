"""How far a run is, by what is in its folder: a checkpoint, an unfinished cache, a whole one.

Each is held against the plan of the run, since a folder is of one schedule.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from marr_pipeline import cache
from marr_pipeline.backbone.checkpoints.checkpoint import (
    TrainingRecord,
    load_checkpoint,
    record_differences,
)
from marr_pipeline.backbone.training.method import LossMethod
from marr_pipeline.backbone.training.plan import TrainingPlan
from marr_pipeline.cache.journal import find_journals, read_journal
from marr_pipeline.errors import DataError
from marr_pipeline.workflows.paper.runs import Run, Schedule, extraction_command
from marr_pipeline.workflows.phase_one import rows_of_cache
from marr_pipeline.workflows.train import dry_record


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What there is of a run, and of how much.

    Attributes:
        steps: of the training, both stages' where there are two.
        all_steps: that it has.
        rows: of the cache.
        all_rows: that it has.
    """

    steps: int
    all_steps: int
    rows: int
    all_rows: int

    @property
    def is_cached(self) -> bool:
        """Whether nothing but the scores may be missing."""
        return self.rows == self.all_rows

    @property
    def steps_left(self) -> int:
        """Those to be made."""
        return self.all_steps - self.steps

    @property
    def rows_left(self) -> int:
        """Those to be made."""
        return self.all_rows - self.rows

    @property
    def text(self) -> str:
        """`step 5,043 of 13,000`, `row 128 of 72,030`; empty where nothing is there."""
        if self.rows and self.steps == self.all_steps:
            return f"row {self.rows:,} of {self.all_rows:,}"
        return f"step {self.steps:,} of {self.all_steps:,}" if self.steps else ""


def kept_of(
    run: Run, plan: TrainingPlan, schedule: Schedule, data_root: Path, folder: Path
) -> Kept:
    """What a folder holds of a run.

    Args:
        run: whose files are looked for.
        plan: of its training, from a dry run.
        schedule: of the run.
        data_root: of its images.
        folder: of all runs.

    Raises:
        DataError: it holds a file of that name by another schedule or of other images, or one that
            is none of ours.
        CacheError: as `cache.open_cache`.
    """
    path, steps = folder / f"{run.stem}.h5", plan.recipe.iterations
    stages = [(path.with_suffix(".pt"), plan)]
    if plan.method.has_first_stage:
        first = replace(plan, method=LossMethod())
        stages.insert(0, (path.with_suffix(".stage1.pt"), first))
    all_steps, all_rows = steps * len(stages), rows_of_cache(plan.dataset, views=schedule.views)
    asked = extraction_command(run, schedule, data_root, folder)
    if path.exists():
        cached = cache.open_cache(path)
        _require(_cache_differences(cached, plan, schedule), path, asked)
        return Kept(steps=all_steps, all_steps=all_steps, rows=all_rows, all_rows=all_rows)
    done = 0
    for number, (checkpoint, stage) in reversed([*enumerate(stages)]):
        if checkpoint.exists():
            stored = load_checkpoint(checkpoint, mapped=True)
            record = dry_record(stage, stored.record)
            _require(record_differences(stored.record, record), checkpoint, asked)
            done = number * steps + stored.step
            break
    rows = 0
    for journal in find_journals(path) if folder.is_dir() else ():
        header, blocks = read_journal(journal)
        layout: Any = header["layout"]
        _require(_other_views(layout["views"]["train"], schedule), journal, asked)
        rows += sum(block.num_rows for block in blocks)
    return Kept(steps=done, all_steps=all_steps, rows=min(rows, all_rows - 1), all_rows=all_rows)


def _cache_differences(cached: cache.Cache, plan: TrainingPlan, schedule: Schedule) -> list[str]:
    """The precision is the device's, which may change."""
    config, indices = cached.meta("config"), cached.meta("indices")
    if not isinstance(config, dict) or not isinstance(indices, dict):
        return ["no record of the network"]
    stored = TrainingRecord(config, {name: np.array(rows) for name, rows in indices.items()})
    asked: dict[str, Any] = json.loads(json.dumps(dry_record(plan, stored).config))
    shared = {"precision": config.get("precision")}
    found = record_differences(stored, TrainingRecord({**asked, **shared}, plan.record().rows))
    return found + _other_views(cached.split("train").views, schedule)


def _other_views(views: Sequence[str], schedule: Schedule) -> list[str]:
    """The first is the clean one."""
    found = len(views) - 1
    return [] if found == schedule.views else [f"views {found}, asked {schedule.views}"]


def _require(differences: Sequence[str], path: Path, asked: str) -> None:
    """Refuse a file of another run."""
    if differences:
        raise DataError(
            f"{path}: a run by {asked!r} expected, got one with {'; '.join(differences)}; "
            "choose another folder"
        )
