"""What an experiment runs, how far each run is, and what is left of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from marr_pipeline.backbone.training.plan import TrainingPlan
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.errors import ConfigError, DataError, PipelineError
from marr_pipeline.progress import duration
from marr_pipeline.workflows.estimate import Pace, training_pace
from marr_pipeline.workflows.paper.images import find_images
from marr_pipeline.workflows.paper.kept import kept_of
from marr_pipeline.workflows.paper.published import (
    CIFAR100_200,
    FIGURES,
    OF_INATURALIST,
    PARAMETERS,
    ROWS,
    TABLE6_IMAGES,
    TABLE7,
    TABLE7_KEYS,
    TABLES,
    Images,
    Row,
)
from marr_pipeline.workflows.paper.runs import Run, Schedule, read_record
from marr_pipeline.workflows.paper.tables import Record
from marr_pipeline.workflows.phase_one import requested_dataset
from marr_pipeline.workflows.request import Listener, PhaseOneRequest
from marr_pipeline.workflows.train import plan_training

TOO_LONG = 14 * 86_400.0
"""Seconds that no run on a CPU is begun for."""


CAN_RUN = ("to be scored", "begun", "missing")
"""States of a run that can go on here: its cache is there, or a part of that or of its network, or
nothing.
"""


@dataclass(kw_only=True)
class Planned:
    """A run, what is scored on it, and how far it is.

    Attributes:
        run: its network.
        keys: methods of phase two that are scored.
        data_root: of its images; None where none was given.
        state: `done`, one of `CAN_RUN`, or why it cannot run or did not.
        kept: how far one is that was begun.
        seconds: that are left of it, as far as that can be said.
        record: what it has scored.
        refusal: why it cannot run, as an error.
    """

    run: Run
    keys: tuple[str, ...]
    data_root: Path | None = None
    state: str = "missing"
    kept: str = ""
    seconds: float | None = None
    record: Record | None = None
    refusal: PipelineError | None = None

    @property
    def can_run(self) -> bool:
        """Whether something of it is missing that can be made here."""
        return self.state in CAN_RUN

    @property
    def is_cached(self) -> bool:
        """Whether nothing but its scores is missing."""
        return self.state == CAN_RUN[0]

    @property
    def text(self) -> str:
        """How far it is, and what is left."""
        if not self.can_run or self.seconds is None or not self.seconds:
            return self.state
        if self.kept:
            return f"{self.state}, {self.kept}, about {duration(self.seconds)} left"
        return f"{self.state}, about {duration(self.seconds)}"

    def refuse(self, error: PipelineError) -> None:
        """It cannot run, for that reason."""
        self.state, self.refusal = str(error), error

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        record = self.record or {}
        return {
            "run": self.run.scored_stem,
            "state": self.state,
            "kept": self.kept,
            "seconds": self.seconds,
            "methods": list(self.keys),
            "command": record.get("command"),
            "fingerprint": record.get("fingerprint"),
            "failed": record.get("failed", {}),
        }


def lines_of(planned: Sequence[Planned]) -> list[str]:
    """A line for all runs of which the same is to be said."""
    groups: dict[str, list[str]] = {}
    for each in planned:
        groups.setdefault(each.text, []).append(each.run.scored_stem)
    return [
        f"{first}{f' and {len(others)} more' if others else ''}: {text}"
        f"{' each' if others and 'about' in text else ''}"
        for text, (first, *others) in groups.items()
    ]


def title_of(experiment: str) -> str:
    """What the paper shows there."""
    own = {
        "table1": "rectified logits",
        "table6": "parameters of phase two, and its time",
        "table7": f"other networks for the images of {CIFAR100_200.name}, overall accuracy",
    }
    if experiment in FIGURES:
        return FIGURES[experiment].title
    return own.get(experiment) or TABLES[experiment].title


def needed(experiment: str) -> list[Planned]:
    """The runs of an experiment, each once, with all that is scored on it."""
    if experiment == "table1":
        return []
    if experiment in FIGURES:
        return [Planned(run=Run(images=FIGURES[experiment].images), keys=FIGURES[experiment].keys)]
    if experiment == "table6":
        return [Planned(run=Run(images=each), keys=tuple(PARAMETERS)) for each in TABLE6_IMAGES]
    if experiment == "table7":
        runs = [Run(images=each, rows_of=_rows_of(each)) for each in TABLE7]
        return [Planned(run=run, keys=TABLE7_KEYS) for run in runs]
    table, keys = TABLES[experiment], dict[Run, list[str]]()
    for name, row in rows_shown(experiment).items():
        printed = table.printed.get(name)
        for place, images in enumerate(table.images):
            numbers = printed and printed[place * len(table.metrics) :][: len(table.metrics)]
            if numbers is None or None not in numbers:
                keys.setdefault(run_of(images, row), []).extend(row.keys)
    return [Planned(run=run, keys=tuple(own)) for run, own in keys.items()]


def _rows_of(images: Images) -> Images | None:
    return None if images == CIFAR100_200 else CIFAR100_200


def run_of(images: Images, row: Row) -> Run:
    """The network of a row."""
    return Run(images=images, method=row.trained_by, options=row.options)


def rows_shown(experiment: str) -> dict[str, Row]:
    """Those that the paper prints, and logit adjustment."""
    table = TABLES[experiment]
    rows = ROWS if experiment != "table5" else {**ROWS, **OF_INATURALIST}
    return {
        name: row
        for name, row in rows.items()
        if name in table.printed or name == "logit adjustment"
    }


def order(planned: Planned) -> tuple[bool, int, bool, float]:
    """What is scored at once, then seed by seed what fills most of the table for its time."""
    run = planned.run
    worth = (planned.seconds or 0.0) / (1 + len(planned.keys))
    return not planned.is_cached, run.seed, run.rows_of is not None, worth


class Survey:
    """Looks how far runs are, and what is left of them takes.

    An image set is listed once, and a kind of network tried once.

    Args:
        schedule: of all runs.
        data_root: folder of the datasets; None where none was given.
        folder: of the runs.
        device: where they would run.
        listing: folder into which archives are unpacked without their content; None unpacks them.
        listener: told of what takes its time.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        data_root: Path | None,
        folder: Path,
        device: torch.device,
        listing: Path | None,
        listener: Listener,
    ) -> None:
        self._schedule = schedule
        self._data_root = data_root
        self._folder = folder
        self._device = device
        self._listing = listing
        self._listener = listener
        self._images: dict[Images, LongTailedDataset | PipelineError] = {}
        self._paces: dict[tuple[object, ...], Pace] = {}

    def look(self, planned: Planned) -> None:
        """Say whether it is done, and else what is left of it or why it cannot run.

        Raises:
            DataError: the folder holds that run by another schedule.
        """
        run, schedule = planned.run, self._schedule
        root = self._data_root or self._folder
        planned.record = read_record(run, planned.keys, schedule, root, self._folder)
        if planned.record is not None:
            planned.state = "done"
            return
        try:
            planned.data_root = root = self._find(run.images)
            request = run.request(schedule, root)
            dataset = self._listed(run.images, request)
            plan = plan_training(request, is_dry=True, dataset=dataset)
        except (DataError, ConfigError) as error:
            planned.refuse(error)
            return
        kept = kept_of(run, plan, schedule, root, self._folder)
        if kept.is_cached:
            planned.state, planned.seconds = CAN_RUN[0], 0.0
            return
        planned.seconds = kept.seconds_left(self._pace(plan))
        if kept.text:
            planned.state, planned.kept = "begun", kept.text
        if self._device.type == "cpu" and planned.seconds > TOO_LONG:
            long = (
                f"would take about {duration(planned.seconds)} on cpu; it wants a GPU, or --scale"
            )
            planned.refuse(PipelineError(long))

    def _find(self, images: Images) -> Path:
        """Where the dataset is."""
        if self._data_root is None:
            raise ConfigError("no --data-root was given")
        verb = "unpacking" if self._listing is None else "listing"
        try:
            return find_images(
                images.dataset,
                self._data_root,
                self._folder / "images",
                listing=self._listing,
                progress=self._listener.progress(f"{verb} {images.dataset}"),
            )
        except DataError as error:
            raise DataError(f"no images: {error}") from error

    def _listed(self, images: Images, request: PhaseOneRequest) -> LongTailedDataset:
        """Its images, none decoded."""
        if images not in self._images:
            try:
                self._images[images] = requested_dataset(request, is_dry=True)
            except DataError as error:
                self._images[images] = DataError(f"no images: {error}")
        found = self._images[images]
        if isinstance(found, PipelineError):
            raise found
        return found

    def _pace(self, plan: TrainingPlan) -> Pace:
        """Losses cost nothing beside their network."""
        shape = plan.dataset.train.image_shape
        key = (type(plan.method), plan.backbone, shape, plan.recipe.batch_size)
        if key not in self._paces:
            self._paces[key] = training_pace(plan, self._device)
        return self._paces[key]
