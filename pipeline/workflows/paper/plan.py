"""What an experiment runs, how far each run is, and what is left of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.progress import duration
from marr_pipeline.workflows.estimate import estimate_extraction
from marr_pipeline.workflows.paper.images import find_images
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
from marr_pipeline.workflows.request import Listener

TOO_LONG = 14 * 86_400.0
"""Seconds that no run on a CPU is begun for."""


@dataclass(kw_only=True)
class Planned:
    """A run, what is scored on it, and how far it is.

    Attributes:
        run: its network.
        keys: methods of phase two that are scored.
        data_root: of its images; None where none was given.
        state: `done`, `missing`, or why it cannot run or did not.
        seconds: that it would take, as far as that can be said.
        record: what it has scored.
    """

    run: Run
    keys: tuple[str, ...]
    data_root: Path | None = None
    state: str = "missing"
    seconds: float | None = None
    record: Record | None = None

    @property
    def text(self) -> str:
        """How far it is, and what it would take."""
        if self.state != "missing" or self.seconds is None:
            return self.state
        return f"{self.state}, about {duration(self.seconds)}"

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        record = self.record or {}
        return {
            "run": self.run.scored_stem,
            "state": self.state,
            "seconds": self.seconds,
            "methods": list(self.keys),
            "command": record.get("command"),
            "fingerprint": record.get("fingerprint"),
            "failed": record.get("failed", {}),
        }


def lines_of(planned: Sequence[Planned]) -> list[str]:
    """A line for each run that can be begun, and one for all that share another state."""
    groups: dict[str, list[str]] = {}
    for each in planned:
        stem = each.run.scored_stem
        groups.setdefault(stem if each.state == "missing" else each.state, []).append(stem)
    said = {each.run.scored_stem: each.text for each in planned}
    return [
        f"{first}{f' and {len(others)} more' if others else ''}: {said[first]}"
        for first, *others in groups.values()
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


def order(planned: Planned) -> tuple[int, float]:
    """Seed by seed, those first that fill most of the table for their time."""
    return planned.run.seed, (planned.seconds or 0.0) / (1 + len(planned.keys))


def look(
    planned: Planned,
    schedule: Schedule,
    data_root: Path | None,
    folder: Path,
    device: str,
    listing: str | None,
    listener: Listener,
) -> None:
    """Whether it is done, and else what it would take or why it cannot run."""
    run = planned.run
    if data_root is None:
        planned.state = "no --data-root was given"
        return
    verb = "unpacking" if listing is None else "listing"
    try:
        root = find_images(
            run.images.dataset,
            data_root,
            folder / "images",
            listing=None if listing is None else Path(listing),
            progress=listener.progress(f"{verb} {run.images.dataset}"),
        )
    except DataError as error:
        planned.state = f"no images: {error}"
        return
    planned.data_root = root
    planned.record = read_record(run, planned.keys, schedule, root, folder)
    if planned.record is not None:
        planned.state = "done"
        return
    try:
        request = run.request(schedule, root)
        planned.seconds = estimate_extraction(request, views=schedule.views).seconds
    except (DataError, ConfigError) as error:
        planned.state = f"no images: {error}"
        return
    if device == "cpu" and (planned.seconds or 0) > TOO_LONG:
        days = (planned.seconds or 0) / 86_400
        planned.state = f"would take about {days:,.0f} days on cpu; it wants a GPU, or --scale"
