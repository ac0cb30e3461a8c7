"""`pipeline apply`: rectified logits and predictions."""

from pathlib import Path

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, warn
from marr_pipeline.cli.options import (
    FILE_OF_SHARES,
    WordOrFile,
    any_head_option,
    check_output,
    input_type,
    json_option,
    output_type,
    scale_option,
)
from marr_pipeline.cli.set_options import chosen_sets, set_options


@command("apply")
@click.argument("source", type=input_type)
@click.argument("rectifier", type=input_type)
@click.option("--split", type=click.Choice(names.SPLITS), default="test", help="Of a cache.")
@scale_option
@click.option(
    "--join",
    type=input_type,
    multiple=True,
    metavar="FILE",
    help="Features of the same rows by another backbone, joined to SOURCE's; again for a third.",
)
@any_head_option
@set_options
@click.option(
    "--calibration",
    type=input_type,
    metavar="CACHE",
    help="Of sets: whose split tune calibrates them, for a file of rows.  [default: SOURCE]",
)
@click.option(
    "--target-prior",
    type=WordOrFile((*names.CLASS_DISTRIBUTIONS, names.ESTIMATE)),
    help="Moves the logits to these class shares, of the place where the rows are from. estimate: "
    "to those that the rows tell, by RECTIFIER's calibration (docs/priors.md says when). "
    f"{FILE_OF_SHARES}  [default: logits stay]",
)
@click.option(
    "--match-prior",
    type=WordOrFile(names.CLASS_DISTRIBUTIONS),
    help="Moves all predictions until their mean is these class shares, which the rows must be "
    "known to have: where they do not, it ruins.",
)
@json_option
@click.option("-o", "--output", type=output_type, required=True, help=".npz, .csv or .parquet.")
def cli_command(
    source: Path,
    rectifier: Path,
    split: str,
    scale: str | None,
    join: tuple[Path, ...],
    any_head: bool,
    sets: float | None,
    score: str | None,
    interpolate: float | None,
    calibration: Path | None,
    target_prior: str | None,
    match_prior: str | None,
    as_json: bool,
    output: Path,
) -> None:
    """Rectify the rows of SOURCE, a cache or a file as `import` reads it, with RECTIFIER.

    Writes logits, probabilities and predictions, with labels and ids where there are some. A table
    has a column of logits and one of probabilities for each class. With --sets each row has a set
    of classes too: a matrix `sets`, or columns `set` (names joined by ;) and `set_size`. A prior
    that the rows told, or were matched to, is printed with the classes that it moves most.
    """
    from marr_pipeline.workflows.apply import apply

    check_output(output, suffixes=(".npz", ".csv", ".parquet"))
    applied = apply(
        source,
        rectifier,
        split=split,
        scale=scale,
        join=join,
        any_head=any_head,
        sets=chosen_sets(sets, score, interpolate),
        calibration=calibration,
        target_prior=target_prior,
        match_prior=match_prior,
        output=output,
    )
    warn(applied.warnings)
    for line in applied.notes:
        note(line)
    if as_json:
        print_json({"output": output, **applied.document()})
        return
    if applied.shares is not None:
        click.echo(applied.shares.table())
    note(f"wrote {output}: {applied.num_rows:,} rows")
    note(f"probabilities: for {applied.prior}")
