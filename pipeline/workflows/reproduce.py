"""A table or figure of the paper made again: what it needs is run, as far as it is not there."""

import _thread
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from marr_pipeline.device import resolve_device
from marr_pipeline.errors import ConfigError
from marr_pipeline.files import (
    FIGURE,
    NUMBERS,
    REPRODUCTION,
    FileName,
    check_replaceable,
    replacing,
)
from marr_pipeline.names import EXPERIMENTS
from marr_pipeline.progress import duration
from marr_pipeline.rectify.fit import parse_method_key
from marr_pipeline.report.tables import Table, csv_table, markdown_table, terminal_table
from marr_pipeline.workflows import CREATOR, library_versions
from marr_pipeline.workflows.paper.make import SPLIT, make
from marr_pipeline.workflows.paper.plan import (
    Planned,
    lines_of,
    look,
    needed,
    order,
    rows_shown,
    run_of,
    title_of,
)
from marr_pipeline.workflows.paper.published import FIGURES, TABLES, Figure
from marr_pipeline.workflows.paper.runs import Run, Schedule
from marr_pipeline.workflows.paper.tables import Record, accuracy_table, table1, table6, table7
from marr_pipeline.workflows.plot import plot
from marr_pipeline.workflows.rectify import rectify_cache, resolve_settings
from marr_pipeline.workflows.request import NOBODY, Listener


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """An experiment, as far as it has run.

    Attributes:
        experiment: one of `names.EXPERIMENTS`.
        title: what the paper shows there.
        schedule: of its runs.
        seeds: how many of each.
        device: where networks ran.
        runs: what it is made of.
        table: filled; None for a figure.
        finding: what the paper says of a figure in numbers.
        files: written.
    """

    experiment: str
    title: str
    schedule: Schedule
    seeds: int
    device: str
    runs: Sequence[Planned]
    table: Table | None = None
    finding: str = ""
    files: tuple[Path, ...] = ()

    @property
    def devices(self) -> str:
        """Those that its finished runs were on, or where it would run."""
        records = [each.record for each in self.runs if each.record is not None]
        found = {str(record.get("device", self.device)) for record in records}
        return ", ".join(sorted(found)) or self.device

    @property
    def missing(self) -> list[Planned]:
        """Runs without which it is not whole."""
        return [each for each in self.runs if each.state != "done"]

    @property
    def heading(self) -> str:
        """What it is, and of which schedule."""
        said = f" ({self.schedule.text})" if self.schedule.text else ""
        return f"{self.experiment}: {self.title}{said}"

    def text(self, write: Callable[[Table], str] = terminal_table) -> str:
        """The table between what it is and what is missing."""
        lines = [self.heading]
        if self.table is not None:
            lines += ["", write(self.table), ""]
        if self.finding:
            lines.append(f"the paper: {self.finding}")
        if self.runs:
            seeds = "one seed" if self.seeds == 1 else f"mean ± deviation over {self.seeds} seeds"
            lines.append(f"{seeds}, on {self.devices}; {CREATOR}")
        lines += [f"- missing: {line}" for line in lines_of(self.missing)]
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline reproduce`, which is also its record."""
        return {
            "command": "reproduce",
            "experiment": self.experiment,
            "title": self.title,
            "schedule": {**vars(self.schedule), "is_rehearsal": self.schedule.scale != 1},
            "seeds": self.seeds,
            "device": self.devices,
            "creator": CREATOR,
            "versions": library_versions(),
            "rows": {} if self.table is None else _rows(self.table),
            "finding": self.finding,
            "runs": [each.describe() for each in self.runs],
            "files": list(self.files),
        }


def _rows(table: Table) -> dict[str, dict[str, Any]]:
    return {
        name: {
            key: cell if isinstance(cell, str) else {"value": cell.value, "std": cell.std}
            for key, cell in cells.items()
        }
        for name, cells in table.rows.items()
    }


def reproduce(
    experiment: str,
    output: FileName,
    *,
    data_root: Path | None = None,
    schedule: Schedule | None = None,
    seeds: int = 1,
    budget: float | None = None,
    is_dry: bool = False,
    listener: Listener = NOBODY,
) -> Reproduction:
    """Run what a table or figure needs and is not there yet, and make it of what is there.

    What cannot run stays empty, and the reason is said. A stopped run goes on with the next call.

    Args:
        experiment: one of `names.EXPERIMENTS`.
        output: folder of the runs, which experiments share, and of the table or figure.
        data_root: folder of the datasets, as folders or .zip, or one dataset's own.
        schedule: of all runs; None for the default recipe.
        seeds: how many of each run.
        budget: seconds of running, after which the run at hand is stopped; those that fill most of
            the table for their time come first. None for no limit.
        is_dry: plan, and make nothing.
        listener: told the plan, and every run.

    Raises:
        ConfigError: no such experiment.
        DataError: the folder holds runs of another schedule.
        PipelineError: a run failed; what is kept has been said then.
        KeyboardInterrupt: stopped by a signal; its text says what is kept.
    """
    if experiment not in EXPERIMENTS:
        raise ConfigError(
            f"experiment: one of {', '.join(EXPERIMENTS)} expected, got {experiment}; choose one"
        )
    schedule, folder = schedule or Schedule(), Path(output)
    device = str(resolve_device(schedule.device))
    planned = [
        replace(each, run=replace(each.run, seed=seed))
        for seed in range(seeds)
        for each in needed(experiment)
    ]
    with TemporaryDirectory(prefix="marr-") if is_dry else nullcontext() as listing:
        for each in planned:
            look(each, schedule, data_root, folder, device, listing, listener)
    planned.sort(key=order)
    for line in lines_of(planned):
        listener.say(line)
    total = sum(each.seconds or 0.0 for each in planned if each.state == "missing")
    if total:
        listener.say(f"about {duration(total)} in all on {device}")
    found = Reproduction(
        experiment=experiment,
        title=title_of(experiment),
        schedule=schedule,
        seeds=seeds,
        device=device,
        runs=planned,
        finding=FIGURES[experiment].finding if experiment in FIGURES else "",
    )
    if is_dry:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    of_figure = {".png": FIGURE, ".csv": NUMBERS}
    of_table = dict.fromkeys((".md", ".csv"), REPRODUCTION)
    products = of_figure if experiment in FIGURES else of_table
    for suffix, product in {**products, ".json": REPRODUCTION}.items():
        check_replaceable(folder / f"{experiment}{suffix}", product)
    deadline = None if budget is None else time.monotonic() + budget
    _run_all(planned, schedule, folder, deadline, listener)
    if experiment in FIGURES:
        return _with_figure(found, FIGURES[experiment], folder, listener)
    return _with_table(found, folder)


def _run_all(
    planned: Sequence[Planned],
    schedule: Schedule,
    folder: Path,
    deadline: float | None,
    listener: Listener,
) -> None:
    """Run those that can, in the order of the plan."""
    missing = [each for each in planned if each.state == "missing"]
    for number, each in enumerate(missing):
        left = None if deadline is None else deadline - time.monotonic()
        is_first = number == 0
        if left is not None and (left <= 0 or (not is_first and (each.seconds or 0) > left)):
            each.state = "not within the budget"
            continue
        assert each.data_root is not None
        listener.say(f"{each.run.scored_stem} ({number + 1} of {len(missing)})")
        try:
            with _stopped_after(left):
                each.record = make(each.run, each.keys, schedule, each.data_root, folder, listener)
        except KeyboardInterrupt as stop:
            if deadline is None or time.monotonic() < deadline:
                raise
            listener.say(str(stop) or "stopped")
            each.state = "begun, the budget ended; the same command goes on"
        else:
            each.state = "done"


@contextmanager
def _stopped_after(seconds: float | None) -> Iterator[None]:
    """Within the block a Ctrl-C comes after that time, as a user's would."""
    timer = threading.Timer(seconds or 0, _thread.interrupt_main)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _with_table(found: Reproduction, folder: Path) -> Reproduction:
    """The table of what has run, and its files."""
    experiment = found.experiment
    by_run: dict[Run, list[Record]] = {}
    for each in found.runs:
        if each.record is not None:
            by_run.setdefault(replace(each.run, seed=0), []).append(each.record)
    if experiment == "table1":
        table = table1()
    elif experiment == "table6":
        table = table6({run.images: records for run, records in by_run.items()})
    elif experiment == "table7":
        table = table7({run.images: records for run, records in by_run.items()})
    else:
        own, rows = TABLES[experiment], rows_shown(experiment)
        table = accuracy_table(
            own,
            rows,
            {
                (images, row): by_run[run_of(images, row)]
                for images in own.images
                for row in rows.values()
                if run_of(images, row) in by_run
            },
        )
    found = replace(found, table=table)
    return _saved(
        found,
        folder,
        {".md": found.text(markdown_table), ".csv": csv_table(table)},
    )


def _with_figure(
    found: Reproduction, figure: Figure, folder: Path, listener: Listener
) -> Reproduction:
    """The figure, if its run is done, and its files."""
    if found.missing:
        return _saved(found, folder, {})
    run, schedule = found.runs[0].run, found.schedule
    path = folder / f"{run.stem}.h5"
    rectifiers = []
    for key in figure.keys:
        method, preset = parse_method_key(key)
        rectifier = folder / f"{run.stem}.{key.replace(':', '-')}.safetensors"
        settings = resolve_settings(path, preset, {"method": method})
        rectify_cache(path, settings, output=rectifier, progress=listener.progress("fitting"))
        rectifiers.append(rectifier)
    written = plot(
        figure.kind,
        path,
        rectifiers,
        output=folder / f"{found.experiment}.png",
        split=SPLIT,
        title=schedule.text,
        progress=listener.progress("sweeping"),
        say=listener.say,
    )
    return _saved(replace(found, files=tuple(written)), folder, {})


def _saved(found: Reproduction, folder: Path, texts: dict[str, str]) -> Reproduction:
    """With its record beside it, and these texts by suffix."""
    paths = [folder / f"{found.experiment}{suffix}" for suffix in (*texts, ".json")]
    found = replace(found, files=(*found.files, *paths))
    document = json.dumps(found.document(), indent=1, default=str)
    for path, text in zip(paths, [*texts.values(), document], strict=True):
        with replacing(path, REPRODUCTION) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
    return found
