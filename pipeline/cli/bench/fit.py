"""`pipeline bench fit`: passes and whole fits beside what others take for the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from pipeline import names
from pipeline.bench.settings import DEFAULT_PARTS, PARTS, BenchSettings
from pipeline.cli.bench.options import objective_options, shape_options, views_option
from pipeline.cli.bench.steps import AnnouncedSteps
from pipeline.cli.command import command, json_option, note, print_json, warn
from pipeline.cli.inputs import input_folder_type, input_type
from pipeline.cli.outputs import check_output, output_type
from pipeline.cli.progress import ProgressLine
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from cache import ViewKind
    from pipeline.bench.fit import FitBench
    from pipeline.bench.online import OnlineBench
    from pipeline.cli.bench.online import OnlineRequest
    from pipeline.cli.bench.rows import BenchRows, RowRequest

LONG_LOGITS = 10**7
"""On more than these a single step may take seconds."""


@dataclass(frozen=True, kw_only=True)
class BenchedFit:
    """Everything that `pipeline bench fit` measured, and on what.

    Attributes:
        rows: that were fitted.
        settings: the objective, and how it was timed.
        bench: passes and fits.
        online: the paper's online way; None without a checkpoint.
    """

    rows: "BenchRows"
    settings: BenchSettings
    bench: "FitBench"
    online: "OnlineBench | None"

    def document(self) -> dict[str, Any]:
        """The JSON document of the command."""
        return {
            "command": "bench",
            "what": "fit",
            "problem": {**self.rows.document(), **self.settings.document()},
            **self.bench.document(),
            "online": None if self.online is None else self.online.document(),
        }


def bench_fit(
    request: "RowRequest",
    settings: BenchSettings,
    *,
    device: str,
    online: "OnlineRequest | None" = None,
) -> BenchedFit:
    """Measure passes and fits on a cache, or on synthetic rows.

    Args:
        request: the rows.
        settings: the objective, and how it is timed.
        device: where the fits run.
        online: the network behind a cache's rows, to measure the paper's online way as well.

    Raises:
        ConfigError: a cache as well as a shape for synthetic rows, or no such device.
        CacheError: the cache, or the file to stream from, is another one or invalid.
        StaleCacheError: the cache was not made by that network from those images.
    """
    from pipeline.bench.fit import run_fit_bench
    from pipeline.cli.bench.online import prepare_online
    from pipeline.cli.bench.rows import requested_rows
    from pipeline.device import resolve_device

    place = resolve_device(device)
    rows = requested_rows(request, device=place, progress=ProgressLine("writing", unit=" rows"))
    warn(rows.warnings)
    steps = AnnouncedSteps(is_long=rows.inputs.logits.numel() > LONG_LOGITS)
    # Before the fits: a cache of another network would be refused only after all of them.
    way = None if online is None else prepare_online(online, device=place)
    bench = run_fit_bench(rows.inputs, settings, progress=steps)
    return BenchedFit(
        rows=rows,
        settings=settings,
        bench=bench,
        online=None if way is None else way.measure(rows.inputs, settings),
    )


@command("fit")
@click.argument("cache", required=False, type=input_type)
@shape_options
@click.option(
    "--dtype", type=click.Choice(names.DTYPES), help="Of synthetic rows.  [default: float32]"
)
@click.option(
    "--stream",
    type=output_type,
    help="Write the synthetic rows to this cache, unless they are there, and fit from the file.",
)
@views_option
@objective_options(gap=1e-6)
@click.option(
    "--limit", "limit_seconds", type=float, default=300.0, help="Seconds until a rival is given up."
)
@click.option(
    "--only",
    "parts",
    type=click.Choice(("ours", *PARTS)),
    multiple=True,
    help="Measure this, may be repeated; `ours` is lbfgs and newton.  [default: all but sgd]",
)
@click.option(
    "--checkpoint",
    type=input_type,
    help="The network behind CACHE: also measure the paper's online way, with it in every step.",
)
@click.option(
    "--data-root",
    type=input_folder_type,
    help="Folder of the images that --checkpoint was trained on.",
)
@click.option("--steps", type=int, help="Of the online way.  [default: the paper's schedule]")
@click.option("--device", type=click.Choice(names.DEVICES), default="cpu")
@json_option
def fit_command(
    cache: Path | None,
    samples: int | None,
    classes: int | None,
    imbalance_ratio: float | None,
    dtype: Literal["float32", "float16"] | None,
    stream: Path | None,
    views: "ViewKind",
    parts: tuple[str, ...],
    checkpoint: Path | None,
    data_root: Path | None,
    steps: int | None,
    device: str,
    as_json: bool,
    **objective: Any,
) -> None:
    """Time passes and whole fits on CACHE or on synthetic long-tailed logits.

    A pass stands beside the same torch operations, a fit beside those of other solvers and
    libraries (install the `bench` extra): seconds until F is within --gap of its least value.
    With --checkpoint also beside the paper's own way, which runs the network in every step.
    """
    from pipeline.cli.bench.rows import RowRequest

    if stream is not None:
        check_output(stream, suffixes=(".h5",))
    settings = BenchSettings(
        parts=_parts(parts) or DEFAULT_PARTS, newton_asked="newton" in parts, **objective
    )
    request = RowRequest(
        source=cache,
        samples=samples,
        classes=classes,
        imbalance_ratio=imbalance_ratio,
        dtype=dtype,
        stream=stream,
        views=views,
        seed=settings.seed,
    )
    online = _online_request(request, checkpoint, data_root, steps)
    found = bench_fit(request, settings, device=device, online=online)
    if as_json:
        print_json(found.document())
        return
    from pipeline.cli.bench.table import fit_table, machine_line, online_table, pass_table

    note(machine_line(found.bench.machine, found.bench.memory))
    online_text = "" if found.online is None else online_table(found.online)
    for table in (pass_table(found.bench), fit_table(found.bench), online_text):
        if table:
            click.echo(table)


def _parts(chosen: tuple[str, ...]) -> tuple[str, ...]:
    """`ours` spelt out, each part once."""
    names_of = {"ours": ("lbfgs", "newton")}
    return tuple(dict.fromkeys(part for name in chosen for part in names_of.get(name, (name,))))


def _online_request(
    request: "RowRequest", checkpoint: Path | None, data_root: Path | None, steps: int | None
) -> "OnlineRequest | None":
    """What the online way needs, if it was asked for; refused before anything is measured."""
    from pipeline.cli.bench.online import OnlineRequest

    if checkpoint is None:
        for option, value in (("--data-root", data_root), ("--steps", steps)):
            if value is not None:
                raise ConfigError(f"{option}: --checkpoint beside it expected, got none; give it")
        return None
    if request.source is None or request.views != "augmented":
        raise ConfigError(
            "--checkpoint: the augmented views of a CACHE made with it expected, got "
            f"{'synthetic rows' if request.source is None else request.views + ' views'}; "
            "give the cache that it made"
        )
    return OnlineRequest(
        cache=request.source, checkpoint=checkpoint, data_root=data_root, steps=steps
    )
