"""`pipeline rectify`: phase two, from a cache to a rectifier."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from marr_pipeline import names
from marr_pipeline.cli.command import EXIT_UNSOLVED, command, note, print_json, warn
from marr_pipeline.cli.options import check_output, input_type, json_option, output_type, size_type
from marr_pipeline.progress import ProgressLine, silent

if TYPE_CHECKING:
    from marr_pipeline.rectify.tuning.tune import TuningOptions
    from marr_pipeline.workflows.rectify import Rectification


@command("rectify")
@click.argument("cache", type=input_type)
@click.option("--method", type=click.Choice(names.METHODS), default="marr")
@click.option(
    "--optimizer",
    type=click.Choice(names.OPTIMIZERS),
    help="[default: lbfgs; crt and balanced-softmax-head: newton; official: sgd]",
)
@click.option("--preset", type=click.Choice(names.PRESETS), default="default")
@click.option("--gamma", type=float, help="Exponent of the class weights.  [default: 1.2; crt: 1]")
@click.option(
    "--l2",
    type=click.FloatRange(min=0),
    help="Ridge; weight decay of sgd.  [default: 3; paper: 5e-4, 1e-4 for iNaturalist]",
)
@click.option(
    "--center",
    type=click.Choice(names.CENTERS),
    help="Where the ridge pulls to.  [default: tempered; paper: zero]",
)
@click.option(
    "--scale-l2",
    type=click.FloatRange(min=0, min_open=True),
    help="With --center tempered: ridge on its common scale, in log K.  [default: 0.2]",
)
@click.option(
    "--reduction",
    type=click.Choice(names.REDUCTIONS),
    help="Divide by the rows or by their weights.  [default: weighted; paper: plain]",
)
@click.option("--tau", type=float, help="Of logit-adjustment and tau-norm.  [default: 1]")
@click.option(
    "--keep-bias", is_flag=True, default=None, help="tau-norm scales the bias, not drops it."
)
@click.option(
    "--sampling",
    type=click.Choice(names.SAMPLINGS),
    help="How sgd draws: every sample alike, or every class.  [default: instance; crt:official and "
    "lws:official: class-balanced]",
)
@click.option("--alpha", type=float, help="Of tde.  [default: the method's own rule]")
@click.option(
    "--form",
    type=click.Choice(names.DISALIGN_FORMS),
    help="Where disalign starts: as its paper or as its released code.  [default: paper]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    help="On the gap bound, or on the gradient norm if --l2 is 0.  [default: 1e-6]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Of sgd's batches and of --tune's folds.  [default: 0]",
)
@click.option(
    "--tune",
    type=click.Choice(names.TUNE),
    default="off",
    help="auto: choose gamma, l2 and center, where not given, on split tune or, without one, by "
    "cross-validation. Never on test.",
)
@click.option(
    "--tune-score",
    type=click.Choice(names.TUNE_SCORES),
    default="nll",
    help="What --tune goes by, each class counting alike.",
)
@click.option("--fit-split", type=click.Choice(names.SPLITS), help="[default: train]")
@click.option("--fit-views", type=click.Choice(names.FIT_VIEWS), help="[default: augmented]")
@click.option(
    "--from", "source", type=click.Choice(("logits", "features")), help="[default: logits]"
)
@click.option("--eval-split", type=click.Choice(names.SPLITS), default="test")
@click.option(
    "--memory",
    type=size_type,
    help="Bound on the fit's buffers, such as 512M or 2G; the file's own pages come on top.",
)
@click.option("--device", type=click.Choice(names.DEVICES), default="cpu")
@click.option("-o", "--output", type=output_type, help="Rectifier, .safetensors.")
@json_option
def cli_command(
    cache: Path,
    preset: str,
    source: str | None,
    tune: str,
    tune_score: Literal["nll", "accuracy"],
    eval_split: str,
    memory: int | None,
    device: str,
    output: Path | None,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Fit a rectifier on the logits of CACHE and print its metrics beside the baselines'.

    Touches no image and no network. Exit code 4: the fit stopped at a limit or has no minimum.
    Under torchrun the processes share the rows, and the first of them prints and writes.
    """
    from marr_pipeline.device import resolve_device
    from marr_pipeline.distributed import joined_ranks
    from marr_pipeline.rectify.rows.resources import Resources
    from marr_pipeline.workflows.rectify import rectify_cache, resolve_settings

    if output is not None:
        check_output(output, suffixes=(".safetensors",))
    settings = resolve_settings(cache, preset, overrides)
    if settings.fit_split == "test":
        from marr_pipeline.errors import LeakError

        raise LeakError(
            "--fit-split: a split for fitting expected, got test; what is fitted on the test "
            "images cannot be scored on them"
        )
    with joined_ranks(resolve_device(device)) as ranks:
        result = rectify_cache(
            cache,
            settings,
            source=source,
            tuning_options=_tuning_options(tune_score, overrides) if tune == "auto" else None,
            eval_split=eval_split,
            device=device,
            progress=_fit_progress(settings.optimizer) if ranks.is_first else silent,
            tuning_progress=ProgressLine("tuning", unit=" fits") if ranks.is_first else silent,
            resources=Resources(memory=memory, ranks=ranks),
        )
        if ranks.is_first:
            _report(result, output, as_json=as_json)
        # A file that the first process could not write is every process's failure.
        ranks.meet()
    if result.is_unsolved:
        raise click.exceptions.Exit(EXIT_UNSOLVED)


def _fit_progress(optimizer: str) -> ProgressLine:
    return ProgressLine("sgd") if optimizer == "sgd" else ProgressLine("fitting", unit=" passes")


def _tuning_options(
    score: Literal["nll", "accuracy"], overrides: Mapping[str, Any]
) -> "TuningOptions":
    """What was given on the command line or in a configuration file is not tuned."""
    from marr_pipeline.rectify.tuning.grid import TUNED
    from marr_pipeline.rectify.tuning.tune import TuningOptions

    fixed = frozenset(name for name in TUNED if overrides[name] is not None)
    return TuningOptions(score=score, fixed=fixed)


def _report(result: "Rectification", output: Path | None, *, as_json: bool) -> None:
    if output is not None:
        result.fit.rectifier.save(output)
        result = replace(result, path=output)
    warn(result.warnings)
    if as_json:
        print_json(result.document())
    else:
        _print_report(result)


def _print_report(result: "Rectification") -> None:
    from marr_pipeline.report.tables import metrics_table

    for line in result.header():
        note(line)
    if result.metrics:
        click.echo(metrics_table(result.table_rows()))
    note(result.certificate())
    if result.path is not None:
        files = f"{result.cache} {result.path}"
        note(f"wrote {result.path}; next: pipeline plot curves {files} -o curves.png")
