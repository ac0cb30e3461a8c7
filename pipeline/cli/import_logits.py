"""`pipeline import`: logits of any origin into a cache."""

from pathlib import Path

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, warn
from marr_pipeline.cli.options import (
    check_output,
    input_type,
    json_option,
    output_type,
    scale_option,
)


@command("import")
@click.option(
    "--train",
    type=input_type,
    required=True,
    help="Logits and labels as .npz, .csv, .parquet, .safetensors, .pt or .pth, or logits alone as "
    ".npy or .pt.",
)
@click.option("--train-labels", type=input_type, help="Labels as .npy or .pt, beside logits alone.")
@click.option("--tune", type=input_type, help="As --train, for choosing settings.")
@click.option("--tune-labels", type=input_type, help="As --train-labels.")
@click.option("--test", type=input_type, help="As --train, for scoring.")
@click.option("--test-labels", type=input_type, help="As --train-labels.")
@click.option(
    "--head",
    type=input_type,
    help=".npz, .safetensors or state dict: weight [, bias] or weight_norm "
    "[, class_counts, prior_counts, class_names].",
)
@scale_option
@click.option(
    "--weights",
    metavar="KEY",
    help="Which of several networks in the file of --head, by a key above it, such as state_dict.",
)
@click.option("-o", "--output", type=output_type, required=True, help="Cache, .h5.")
@click.option("--overwrite", is_flag=True, help="Replace an existing cache.")
@json_option
def cli_command(
    head: Path | None,
    weights: str | None,
    scale: str | None,
    output: Path,
    overwrite: bool,
    as_json: bool,
    **given: Path | None,
) -> None:
    """Write a cache from logits (N, K) or (V, N, K) and labels (N,) of your own model.

    Optional arrays: features, ids, one a sample, views, "clean" or "augmented", and class_names.
    A table has a column label, if wanted id, and one of logits for each class, in class order; no
    others. Scores (N,) of a binary classifier are those of its second class. Logits larger than
    memory come as .npy or .safetensors. Several views of the test split: the clean one is scored,
    or else the first.
    """
    from marr_pipeline.workflows.import_logits import SplitFiles, import_logits

    check_output(output, suffixes=(".h5", ".hdf5"))
    files = {}
    for name in names.SPLITS:
        rows, labels = given[name], given[f"{name}_labels"]
        _check_labels_option(name, rows, labels)
        if rows is not None:
            files[name] = SplitFiles(rows=rows, labels=labels)
    imported = import_logits(
        files, output, head=head, weights=weights, scale=scale, overwrite=overwrite
    )
    warn(imported.warnings)
    if as_json:
        print_json(imported.document())
    note(f"wrote {output}; next: pipeline rectify {output}")


def _check_labels_option(name: str, rows: Path | None, labels: Path | None) -> None:
    """Labels stand in a file of their own exactly beside logits alone.

    Raises:
        click.UsageError: they do not.
    """
    if rows is not None and rows.suffix == ".npy" and labels is None:
        raise click.UsageError(
            f"--{name} {rows}: --{name}-labels with an .npy of labels expected beside an .npy of "
            "logits, got none; add it"
        )
    single = (".npy", ".pt", ".pth")
    is_pair = rows is not None and rows.suffix in single
    if labels is not None and not (is_pair and labels.suffix in single):
        raise click.UsageError(
            f"--{name}-labels {labels}: an .npy or .pt beside logits alone, as .npy or .pt, "
            f"expected, got --{name} {rows}; every other kind of file holds its own labels"
        )
