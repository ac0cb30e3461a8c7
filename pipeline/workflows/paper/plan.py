"""What an experiment runs, and how far each run is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marr_pipeline.errors import PipelineError
from marr_pipeline.progress import duration
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
from marr_pipeline.workflows.paper.runs import Run
from marr_pipeline.workflows.paper.tables import Record

CACHED, BEGUN, MISSING = CAN_RUN = ("to be scored", "begun", "missing")
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
        needs_cache: whether its record alone is not enough, as for a figure.
        record: what it has scored.
        refusal: why it cannot run, as an error.
    """

    run: Run
    keys: tuple[str, ...]
    needs_cache: bool = False
    data_root: Path | None = None
    state: str = MISSING
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
        return self.state == CACHED

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
            "creator": record.get("creator"),
            "versions": record.get("versions"),
            "failed": record.get("failed", {}),
            "warnings": record.get("warnings", []),
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
        return f"{FIGURES[experiment].title}, {FIGURES[experiment].images.name}"
    return own.get(experiment) or TABLES[experiment].title


def needed(experiment: str) -> list[Planned]:
    """The runs of an experiment, each once, with all that is scored on it."""
    if experiment == "table1":
        return []
    if experiment in FIGURES:
        figure = FIGURES[experiment]
        return [Planned(run=Run(images=figure.images), keys=figure.keys, needs_cache=True)]
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
