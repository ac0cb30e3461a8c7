"""`pipeline evaluate`: metrics of rectifiers beside softmax and logit adjustment."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline.cli.command import command, note, print_json, tell, warn
from marr_pipeline.cli.options import (
    any_head_option,
    chosen_sets,
    class_distribution_option,
    groups_option,
    input_type,
    json_option,
    mute_option,
    of_scoring,
    overwrite_option,
    set_options,
    split_option,
    target_prior_option,
)
from marr_pipeline.cli.outputs import check_outputs, output_option
from marr_pipeline.files import METRICS
from marr_pipeline.progress import ProgressLine


@command("evaluate", example="pipeline evaluate digits.h5 marr.safetensors")
@click.argument("cache", type=input_type)
@click.argument("rectifiers", type=input_type, nargs=-1)
@split_option
@groups_option
@class_distribution_option
@target_prior_option
@any_head_option
@set_options
@mute_option
@of_scoring("--per-class", is_flag=True, help="Also the accuracy of each class, by training count.")
@output_option(
    METRICS,
    ".csv",
    help="Write the metrics, or with --per-class the classes: .csv.",
)
@overwrite_option
@json_option
def cli_command(
    output: Path | None,
    overwrite: bool,
    sets: float | None,
    score: str | None,
    interpolate: float | None,
    per_class: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Score RECTIFIERS on CACHE, beside softmax and logit adjustment.

    Of features alone these are a plain probe's, fitted for it. With --sets a second table says how
    often sets of classes hold the true one, and how large they are.
    """
    check_outputs()

    from marr_pipeline.workflows.evaluate import evaluate

    evaluation = evaluate(
        **options,
        sets=chosen_sets(sets, score, interpolate),
        progress=ProgressLine("choosing a probe's ridge", unit=" fits"),
    )
    warn(evaluation.warnings)
    if output is not None:
        evaluation.save(output, per_class=per_class, overwrite=overwrite)
        note(f"wrote {output}")
    if as_json:
        print_json(evaluation.document())
    else:
        note(evaluation.scope())
        click.echo(evaluation.table(per_class=per_class))
    tell(evaluation.checks)
