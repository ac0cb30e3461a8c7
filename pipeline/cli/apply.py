"""`pipeline apply`: rectified logits and predictions."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, warn
from marr_pipeline.cli.help import options_of
from marr_pipeline.cli.options import (
    FILE_OF_SHARES,
    WordOrFile,
    any_head_option,
    chosen_sets,
    input_type,
    json_option,
    overwrite_option,
    scale_option,
    set_options,
)
from marr_pipeline.cli.outputs import check_outputs, output_option
from marr_pipeline.files import ROWS

of_rows, of_sets, of_prior = options_of("Rows"), options_of("Sets"), options_of("Prior")


@command("apply", example="pipeline apply digits.h5 marr.safetensors -o rectified.npz")
@click.argument("source", type=input_type)
@click.argument("rectifier", type=input_type)
@of_rows("--split", type=click.Choice(names.SPLITS), default="test", help="Of a cache.")
@scale_option
@of_rows(
    "--join",
    type=input_type,
    multiple=True,
    metavar="FILE",
    help="Features of the same rows by another backbone, joined to SOURCE's; again for a third.",
)
@any_head_option
@set_options
@of_sets(
    "--calibration",
    type=input_type,
    metavar="CACHE",
    help="Of sets: whose split tune calibrates them, for a file of rows.  [default: SOURCE]",
)
@of_prior(
    "--target-prior",
    type=WordOrFile((*names.CLASS_DISTRIBUTIONS, names.ESTIMATE)),
    help="Moves the logits to these class shares. They are those of the place where the rows are "
    "from. estimate: to those that the rows tell, by RECTIFIER's calibration (docs/priors.md says "
    "when). "
    f"{FILE_OF_SHARES}  [default: logits stay]",
)
@of_prior(
    "--match-prior",
    type=WordOrFile(names.CLASS_DISTRIBUTIONS),
    help="Moves all predictions until their mean is these class shares, which the rows must be "
    "known to have: where they do not, it ruins.",
)
@json_option
@output_option(ROWS, ".npz", ".csv", ".parquet", required=True, help=".npz, .csv or .parquet.")
@overwrite_option
def cli_command(
    output: Path,
    sets: float | None,
    score: str | None,
    interpolate: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Rectify the rows of SOURCE, a cache or a file, with RECTIFIER.

    A file is read as `import` reads it. Writes logits, probabilities and predictions, with labels
    and ids where there are some. A table has a column of logits and one of probabilities for each
    class. With --sets each row has a set of classes too: a matrix `sets`, or columns `set` (names
    joined by ;) and `set_size`. A prior that the rows told, or were matched to, is printed with the
    classes that it moves most.
    """
    check_outputs()

    from marr_pipeline.workflows.apply import apply

    applied = apply(**options, sets=chosen_sets(sets, score, interpolate), output=output)
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
