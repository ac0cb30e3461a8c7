"""`pipeline bench`: speed, always as ratios within one run."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from pipeline import names
from pipeline.bench.settings import DEFAULT_PARTS, PARTS, BenchSettings
from pipeline.cli.command import Command, json_option, note, print_json, warn
from pipeline.cli.outputs import check_output, output_type
from pipeline.cli.progress import ProgressLine
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from cache import ViewKind
    from pipeline.bench.fit import FitBench
    from pipeline.cli.bench_rows import BenchRows

DEFAULT_SAMPLES, DEFAULT_CLASSES = 10_847, 100
"""Of CIFAR-100-LT at imbalance ratio 100."""
LONG_LOGITS = 10**7
"""On more than these a single step may take seconds."""
SHORT_SECONDS = 2.0
CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"]}


class AnnouncedSteps:
    """A `Progress` that names each step as it begins; of a short run it shows nothing.

    A rate would mean nothing: no two steps are alike.
    """

    def __init__(self, *, is_long: bool) -> None:
        self._is_long = is_long
        self._begin = time.monotonic()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """A line on stderr, if the run is long enough to want one."""
        if note and (self._is_long or time.monotonic() - self._begin > SHORT_SECONDS):
            click.echo(f"bench: {min(done + 1, total)}/{total} {note}", err=True)


def bench_fit(
    source: Path | None,
    settings: BenchSettings,
    *,
    samples: int | None,
    classes: int | None,
    imbalance_ratio: float | None,
    dtype: Literal["float32", "float16"] | None,
    stream: Path | None,
    views: "ViewKind",
    device: str,
) -> tuple["BenchRows", "FitBench"]:
    """Measure passes and fits on a cache, or on synthetic rows.

    Args:
        source: a cache; None for synthetic rows.
        settings: the objective, and how it is timed; its seed also draws synthetic rows.
        samples: N of synthetic rows.
        classes: K of synthetic rows.
        imbalance_ratio: of synthetic rows.
        dtype: of synthetic rows.
        stream: file for synthetic rows, which are then fitted from there.
        views: which views of a cache.
        device: where the fits run.

    Raises:
        ConfigError: a cache as well as a shape for synthetic rows, or no such device.
        CacheError: the cache, or the file to stream from, is another one or invalid.
    """
    from pipeline.bench.fit import run_fit_bench
    from pipeline.bench.synthetic import SyntheticLogits
    from pipeline.cli.bench_rows import rows_in_memory, rows_of_cache, write_synthetic
    from pipeline.device import resolve_device

    place = resolve_device(device)
    if source is not None:
        shape = {
            "samples": samples,
            "classes": classes,
            "imbalance-ratio": imbalance_ratio,
            "dtype": dtype,
            "stream": stream,
        }
        given = [f"--{name}" for name, value in shape.items() if value is not None]
        if given:
            raise ConfigError(
                f"{given[0]}: synthetic rows or a cache expected, got both; leave out {given[0]} "
                f"or {source}"
            )
        rows = rows_of_cache(source, views=views, device=place)
    else:
        synthetic = SyntheticLogits(
            num_samples=DEFAULT_SAMPLES if samples is None else samples,
            num_classes=DEFAULT_CLASSES if classes is None else classes,
            imbalance_ratio=100.0 if imbalance_ratio is None else imbalance_ratio,
            seed=settings.seed,
        )
        if stream is None:
            rows = rows_in_memory(synthetic, dtype=dtype or "float32", device=place)
        else:
            written = ProgressLine("writing", unit=" rows")
            write_synthetic(stream, synthetic, dtype=dtype or "float32", progress=written)
            rows = rows_of_cache(stream, views=views, device=place)
    warn(rows.warnings)
    steps = AnnouncedSteps(is_long=rows.inputs.logits.numel() > LONG_LOGITS)
    return rows, run_fit_bench(rows.inputs, settings, progress=steps)


def document(rows: "BenchRows", settings: BenchSettings, bench: "FitBench") -> dict[str, Any]:
    """The JSON document of `pipeline bench fit`."""
    return {
        "command": "bench",
        "what": "fit",
        "problem": {
            **rows.document(),
            "gamma": settings.gamma,
            "l2": settings.l2,
            "center": settings.center,
            "reduction": settings.reduction,
            "wanted_gap": settings.gap,
        },
        **bench.document(),
    }


@click.group("bench", context_settings=CONTEXT)
def cli_command() -> None:
    """Measure speed, beside what others take for the same in the same run."""


@cli_command.command("fit", cls=Command, context_settings=CONTEXT)
@click.argument(
    "cache", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--samples", type=int, help=f"N of synthetic rows.  [default: {DEFAULT_SAMPLES:,}]")
@click.option("--classes", type=int, help=f"K of synthetic rows.  [default: {DEFAULT_CLASSES}]")
@click.option("--imbalance-ratio", type=float, help="Of synthetic rows.  [default: 100]")
@click.option(
    "--dtype", type=click.Choice(names.DTYPES), help="Of synthetic rows.  [default: float32]"
)
@click.option(
    "--stream",
    type=output_type,
    help="Write the synthetic rows to this cache, unless they are there, and fit from the file.",
)
@click.option(
    "--fit-views",
    "views",
    type=click.Choice(names.FIT_VIEWS),
    default="augmented",
    help="Of CACHE.",
)
@click.option("--gamma", type=float, default=1.2, help="Exponent of the class weights.")
@click.option("--l2", type=float, default=0.01, help="Ridge, above 0.")
@click.option("--center", type=click.Choice(names.CENTERS), default="zero")
@click.option("--reduction", type=click.Choice(names.REDUCTIONS), default="weighted")
@click.option("--gap", type=float, default=1e-6, help="Distance to the least loss to arrive at.")
@click.option("--repeat", type=int, default=5, help="Timed runs, after one that warms up.")
@click.option(
    "--limit", "limit_seconds", type=float, default=300.0, help="Seconds until a rival is given up."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of synthetic rows and sgd.")
@click.option(
    "--only",
    "parts",
    type=click.Choice(("ours", *PARTS)),
    multiple=True,
    help="Measure this, may be repeated; `ours` is lbfgs and newton.  [default: all but sgd]",
)
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
    device: str,
    as_json: bool,
    **objective: Any,
) -> None:
    """Time passes and whole fits on CACHE or on synthetic long-tailed logits.

    A pass stands beside the same torch operations, a fit beside those of other solvers and
    libraries (install the `bench` extra): seconds until F is within --gap of its least value.
    """
    if stream is not None:
        check_output(stream, suffixes=(".h5",))
    settings = BenchSettings(
        parts=_parts(parts) or DEFAULT_PARTS, newton_asked="newton" in parts, **objective
    )
    rows, bench = bench_fit(
        cache,
        settings,
        samples=samples,
        classes=classes,
        imbalance_ratio=imbalance_ratio,
        dtype=dtype,
        stream=stream,
        views=views,
        device=device,
    )
    if as_json:
        print_json(document(rows, settings, bench))
        return
    from pipeline.cli.bench_table import fit_table, machine_line, pass_table

    note(machine_line(bench))
    for table in (pass_table(bench), fit_table(bench)):
        if table:
            click.echo(table)


def _parts(chosen: tuple[str, ...]) -> tuple[str, ...]:
    """`ours` spelt out, each part once."""
    names_of = {"ours": ("lbfgs", "newton")}
    return tuple(dict.fromkeys(part for name in chosen for part in names_of.get(name, (name,))))
