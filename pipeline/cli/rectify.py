"""`pipeline rectify`: phase two, from a cache to a rectifier."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from marr_pipeline import names
from marr_pipeline.cli.command import EXIT_UNSOLVED, command, note, print_json, tell, warn
from marr_pipeline.cli.help import options_of
from marr_pipeline.cli.options import (
    FiniteRange,
    MethodName,
    WordOrFile,
    eval_split_option,
    groups_option,
    input_type,
    json_option,
    mute_option,
    overwrite_option,
    seed_type,
    size,
    source_option,
    target_prior_option,
)
from marr_pipeline.cli.outputs import check_outputs, output_option
from marr_pipeline.files import RECTIFIER
from marr_pipeline.plugins import installed_methods
from marr_pipeline.progress import ProgressLine, silent

if TYPE_CHECKING:
    from marr_pipeline.workflows.rectification import Rectification


of_method, of_rows, of_objective, of_solver, of_tuning = map(
    options_of, ("Method", "Rows", "Objective", "Solver", "Tuning")
)


@command("rectify", example="pipeline rectify digits.h5 -o marr.safetensors")
@click.argument("cache", type=input_type)
@of_method(
    "--method",
    type=MethodName(names.METHODS, installed_methods),
    default="marr",
    help="What is fitted.",
)
@of_method(
    "--plugin",
    "plugins",
    type=input_type,
    multiple=True,
    is_eager=True,
    metavar="FILE.py",
    help="Python file with methods of your own in a dict METHODS, see docs/extending.md; may be "
    "repeated.",
)
@of_solver(
    "--optimizer",
    type=click.Choice(names.OPTIMIZERS),
    help="What minimises.  [default: lbfgs; whole heads: newton; official: sgd]",
)
@of_method(
    "--preset", type=click.Choice(names.PRESETS), default="default", help="Of all other settings."
)
@of_objective(
    "--gamma",
    type=float,
    help="Exponent of the class weights.  [default: 1; paper and official: 1.2; other whole heads "
    "than crt and methods of calibration: 0]",
)
@of_objective(
    "--l2",
    type=FiniteRange(min=0),
    help="Ridge. For sgd it is weight decay, of a whole head in units of the features' mean square."
    "  [default: what the rows can be trusted with; paper: 5e-4, 1e-4 for iNaturalist; whole "
    "heads: 1e-5, head: tuned; methods of calibration: 0]",
)
@of_objective(
    "--center",
    type=WordOrFile(names.CENTERS[:-1]),
    help="Where the ridge pulls to. Of a whole head also to class-means, gda, cache (the stored "
    "head) or a file with a head or one row of numbers a class.  [default: tempered; paper and "
    "whole heads: zero; head without --l2: zero or class-means, tuned]",
)
@of_objective(
    "--scale-l2",
    expert=True,
    type=FiniteRange(min=0, min_open=True),
    help="With a centre known up to scale: ridge on that scale, in log K.  [default: what "
    "the rows can be trusted with; whole heads: 0.2]",
)
@of_rows(
    "--rows",
    type=click.Choice(names.FITTED_ROWS),
    help="Whether the network was trained on them.  [default: as the cache knows; where it does "
    "not, seen]",
)
@of_objective(
    "--memorised",
    expert=True,
    type=FiniteRange(min=0, max=1),
    help="With center tempered: how far the rows are memorised.  [default: by the share of them "
    "whose own label is on top]",
)
@of_objective(
    "--reduction",
    expert=True,
    type=click.Choice(names.REDUCTIONS),
    help="Divide by the rows or by their weights.  [default: weighted; paper: plain]",
)
@of_method(
    "--tau",
    expert=True,
    type=float,
    help="Of logit-adjustment and tau-norm; of a whole head how much of the prior it sheds.  "
    "[default: 1; crt: 0]",
)
@of_method(
    "--normalise",
    expert=True,
    type=click.Choice(names.FEATURE_NORMALISATIONS),
    help="Features before a whole head: rows of length 1, or standardised.  [default: unit; crt "
    "and balanced-softmax-head: none]",
)
@of_method(
    "--free-bias",
    expert=True,
    is_flag=True,
    default=None,
    help="The ridge of a whole head leaves the bias out; no gap bound.",
)
@of_method(
    "--shrinkage",
    expert=True,
    type=FiniteRange(min=0, max=1),
    help="Of gda's covariance.  [default: chosen on samples held out]",
)
@of_method(
    "--logit-scale",
    "scale",
    expert=True,
    type=FiniteRange(min=0, min_open=True),
    help="Of ncm and gda.  [default: fitted on samples held out]",
)
@of_method(
    "--keep-bias",
    expert=True,
    is_flag=True,
    default=None,
    help="tau-norm scales the bias, not drops it.",
)
@of_method(
    "--scale-bias/--no-scale-bias",
    expert=True,
    default=None,
    help="lws scales the bias with the rest, or W alone.  [default: with the rest; lws:paper: W]",
)
@of_solver(
    "--sampling",
    expert=True,
    type=click.Choice(names.SAMPLINGS),
    help="How sgd draws: every sample alike, or every class.  [default: instance; crt:official and "
    "lws:official: class-balanced]",
)
@of_method("--alpha", expert=True, type=float, help="Of tde.  [default: the method's own rule]")
@of_method(
    "--form",
    expert=True,
    type=click.Choice(names.DISALIGN_FORMS),
    help="Where disalign starts: as its paper or as its released code.  [default: paper]",
)
@of_solver(
    "--tolerance",
    expert=True,
    type=FiniteRange(min=0, min_open=True),
    help="On the gap bound, or on the gradient norm if --l2 is 0.  [default: 1e-6]",
)
@of_solver(
    "--seed",
    expert=True,
    type=seed_type,
    help="Of sgd's batches and of --tune's folds.  [default: 0]",
)
@of_tuning(
    "--tune",
    type=click.Choice(names.TUNE),
    help="auto chooses gamma, l2 and center, never on test. Those that are not given (of head l2 "
    "and center, of logit-adjustment tau and a temperature), on split tune or, without one or "
    "where it is fitted, by cross-validation.  [default: off; head without --l2: auto]",
)
@of_tuning(
    "--tune-score",
    expert=True,
    type=click.Choice(names.TUNE_SCORES),
    default="nll",
    help="What --tune goes by, each class counting alike.",
)
@of_rows(
    "--fit-split",
    type=click.Choice(names.SPLITS),
    help="Whose rows are fitted.  [default: of marr and methods of calibration tune, where there "
    "is one, else train]",
)
@of_rows(
    "--fit-views",
    expert=True,
    type=click.Choice(names.FIT_VIEWS),
    help="Views of them.  [default: augmented]",
)
@source_option
@eval_split_option
@groups_option
@target_prior_option
@of_solver(
    "--memory",
    expert=True,
    type=size,
    help="Bound on the fit's buffers, such as 512M or 2G; the file's own pages come on top.",
)
@of_solver("--device", expert=True, type=click.Choice(names.DEVICES), default="cpu")
@mute_option
@output_option(RECTIFIER, ".safetensors", help="Rectifier, .safetensors.")
@overwrite_option
@json_option
def cli_command(
    cache: Path,
    preset: str,
    source: str | None,
    tune: str | None,
    tune_score: Literal["nll", "accuracy"],
    eval_split: str,
    groups: str | None,
    target_prior: str | None,
    memory: int | None,
    device: str,
    mute: list[str],
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    plugins: tuple[Path, ...],
    **overrides: Any,
) -> None:
    """Fit a rectifier on CACHE; print metrics beside the baselines'.

    Touches no image and no network. Exit code 4: the fit stopped at a limit or has no minimum.
    Under torchrun the processes share the rows, and the first of them prints and writes.
    """
    check_outputs()

    from marr_pipeline.device import resolve_device
    from marr_pipeline.distributed import joined_ranks
    from marr_pipeline.workflows.rectify import rectify_cache, resolve_settings
    from marr_pipeline.workflows.tuning import default_tuning, tuning_options

    if plugins:
        from marr_pipeline.workflows.fits import add_methods

        add_methods(plugins)
    center = overrides["center"]
    if center is not None and center not in names.CENTERS[:-1]:
        overrides["center"] = "file"
    settings = resolve_settings(cache, preset, overrides)
    if tune == "auto" and settings.method == "logit-adjustment" and overrides["tau"] is not None:
        raise click.UsageError("--tau: none expected with --tune auto, which fits it; leave it out")
    tuning = tuning_options(tune_score, overrides) if tune == "auto" else None
    if tune is None:
        tuning = default_tuning(settings.method, overrides)
    with joined_ranks(resolve_device(device)) as ranks:
        result = rectify_cache(
            cache,
            settings,
            tune=tuning,
            center=Path(center) if settings.center == "file" else None,
            source=source,
            eval_split=eval_split,
            groups=groups,
            target_prior=target_prior,
            output=output,
            overwrite=overwrite,
            device=device,
            memory=memory,
            ranks=ranks,
            mute=mute,
            progress=_fit_progress(settings.optimizer) if ranks.is_first else silent,
            tuning_progress=ProgressLine("tuning", unit=" fits") if ranks.is_first else silent,
        )
        if ranks.is_first:
            _print_report(result, as_json=as_json)
        # A file that the first process could not write is every process's failure.
        ranks.meet()
    if result.fit.is_unsolved:
        raise click.exceptions.Exit(EXIT_UNSOLVED)


def _fit_progress(optimizer: str) -> ProgressLine:
    return ProgressLine("sgd") if optimizer == "sgd" else ProgressLine("fitting", unit=" passes")


def _print_report(result: "Rectification", *, as_json: bool) -> None:
    warn(result.warnings)
    if as_json:
        print_json(result.document())
        tell(result.checks)
        return
    for line in result.header():
        note(line)
    table = result.table()
    if table is not None:
        click.echo(table)
    note(result.certificate())
    tell(result.checks)
    if result.path is not None:
        files = f"{result.cache} {result.path}"
        note(f"wrote {result.path}; next: pipeline plot curves {files} -o curves.png")
