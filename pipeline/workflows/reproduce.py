"""A table or figure of the paper made again: what it needs is run, as far as it is not there."""

import _thread
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from marr_pipeline.device import resolve_device
from marr_pipeline.errors import ConfigError, PipelineError
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
from marr_pipeline.report.tables import csv_table, markdown_table
from marr_pipeline.workflows.paper.findings import findings_of
from marr_pipeline.workflows.paper.make import SPLIT, make
from marr_pipeline.workflows.paper.plan import (
    Planned,
    lines_of,
    needed,
    order,
    rows_shown,
    run_of,
    title_of,
)
from marr_pipeline.workflows.paper.published import FIGURES, TABLES, Figure
from marr_pipeline.workflows.paper.reproduction import Reproduction
from marr_pipeline.workflows.paper.runs import Run, Schedule, write_record
from marr_pipeline.workflows.paper.survey import Survey
from marr_pipeline.workflows.paper.tables import Record, accuracy_table, table1, table6, table7
from marr_pipeline.workflows.plot import plot
from marr_pipeline.workflows.rectify import rectify_cache, resolve_settings
from marr_pipeline.workflows.request import NOBODY, Listener


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
        ConfigError: no such experiment; or several seeds of a figure.
        DataError: the folder holds runs of another schedule.
        PipelineError: a run failed; what is kept has been said then. Or nothing of the experiment
            could be made: of the kind of the reason, a DataError where images are absent or
            invalid. Its record is written then, a table without numbers too, and no figure is left.
        KeyboardInterrupt: stopped by a signal; its text says what is kept.
    """
    if experiment not in EXPERIMENTS:
        raise ConfigError(
            f"experiment: one of {', '.join(EXPERIMENTS)} expected, got {experiment}; choose one"
        )
    if experiment in FIGURES and seeds != 1:
        raise ConfigError(
            f"seeds: 1 expected for {experiment}, which shows one network, got {seeds}; leave it "
            "out"
        )
    schedule, folder = schedule or Schedule(), Path(output)
    device = resolve_device(schedule.device)
    planned = [
        replace(each, run=replace(each.run, seed=seed))
        for seed in range(seeds)
        for each in needed(experiment)
    ]
    with TemporaryDirectory(prefix="marr-") if is_dry else nullcontext() as listing:
        survey = Survey(
            schedule,
            data_root=data_root,
            folder=folder,
            device=device,
            listing=None if listing is None else Path(listing),
            listener=listener,
        )
        for each in planned:
            survey.look(each)
    planned.sort(key=order)
    found = Reproduction(
        experiment=experiment,
        title=title_of(experiment),
        schedule=schedule,
        seeds=seeds,
        device=str(device),
        runs=planned,
        finding=FIGURES[experiment].finding if experiment in FIGURES else "",
    )
    if planned:
        listener.say(found.heading)
    for line in lines_of(planned):
        listener.say(line)
    total = sum(each.seconds or 0.0 for each in planned if each.can_run)
    if total:
        listener.say(f"about {duration(total)} in all on {device}")
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
        found = _with_figure(found, FIGURES[experiment], folder, listener)
    else:
        found = _with_table(found, folder)
    if found.is_empty:
        first = found.missing[0]
        kind = PipelineError if first.refusal is None else type(first.refusal)
        raise kind(f"{experiment}: runs expected, got none; {lines_of(found.missing)[0]}")
    return found


def _run_all(
    planned: Sequence[Planned],
    schedule: Schedule,
    folder: Path,
    deadline: float | None,
    listener: Listener,
) -> None:
    """Run those that can, in the order of the plan; what is cached is scored in any case."""
    missing = [each for each in planned if each.can_run]
    is_first = True
    for number, each in enumerate(missing):
        left = None if deadline is None or each.is_cached else deadline - time.monotonic()
        if left is not None and (left <= 0 or (not is_first and (each.seconds or 0) > left)):
            each.state = "not within the budget"
            continue
        is_first = is_first and each.is_cached
        assert each.data_root is not None
        ended = threading.Event()
        listener.say(f"{each.run.scored_stem} ({number + 1} of {len(missing)})")
        try:
            with _stopped_after(left, ended):
                each.record = make(each.run, each.keys, schedule, each.data_root, folder, listener)
        except KeyboardInterrupt as stop:
            if not ended.is_set():
                raise
            listener.say(str(stop) or "stopped")
            each.state = "begun, the budget ended; the same command goes on"
        else:
            each.state = "done"


@contextmanager
def _stopped_after(seconds: float | None, ended: threading.Event) -> Iterator[None]:
    """Within the block a Ctrl-C comes after that time, as a user's would, and `ended` tells."""

    def end() -> None:
        ended.set()
        _thread.interrupt_main()

    timer = threading.Timer(seconds or 0, end)
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
        table = table6({run.images: records for run, records in by_run.items()}, found.seeds)
    elif experiment == "table7":
        table = table7({run.images: records for run, records in by_run.items()}, found.seeds)
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
            found.seeds,
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
    """The figure, if its run is done, and its files; else none that was there before."""
    if found.missing:
        for suffix in (".png", ".csv"):
            (folder / f"{found.experiment}{suffix}").unlink(missing_ok=True)
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
        title=f"{figure.images.name}, {schedule.text}" if schedule.text else "",
        progress=listener.progress("sweeping"),
        say=listener.say,
    )
    assert found.runs[0].record is not None
    ours = findings_of(figure, found.runs[0].record, folder / f"{found.experiment}.csv")
    return _saved(replace(found, ours=ours, files=tuple(written)), folder, {})


def _saved(found: Reproduction, folder: Path, texts: dict[str, str]) -> Reproduction:
    """With its record beside it, and these texts by suffix."""
    paths = [folder / f"{found.experiment}{suffix}" for suffix in (*texts, ".json")]
    found = replace(found, files=(*found.files, *paths))
    for path, text in zip(paths, texts.values(), strict=False):
        with replacing(path, REPRODUCTION) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
    write_record(paths[-1], found.document())
    return found
