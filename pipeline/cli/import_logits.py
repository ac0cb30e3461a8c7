"""`pipeline import`: logits or features of any origin into a cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, warn
from marr_pipeline.cli.help import options_of
from marr_pipeline.cli.options import (
    InputFiles,
    input_type,
    json_option,
    overwrite_option,
    scale_option,
)
from marr_pipeline.cli.outputs import check_outputs, output_option
from marr_pipeline.files import CACHE

_files_type = InputFiles(exists=True, dir_okay=False, path_type=Path)
_BARE = (".npy", ".pt", ".pth")


of_rows, of_head = options_of("Rows"), options_of("Head")


@command("import", example="pipeline import --train train.npz --test test.npz -o mine.h5")
@of_rows(
    "--train",
    type=_files_type,
    required=True,
    multiple=True,
    help="Logits, features or both, and labels, as .npz, .csv, .parquet, .safetensors, .pt or "
    ".pth, or one matrix alone as .npy or .pt. Given again: the features of the same samples by "
    "another backbone, which are joined, or with --shards more rows.",
)
@of_rows(
    "--train-labels",
    type=_files_type,
    multiple=True,
    help="Labels as .npy or .pt, beside logits alone; beside features also as a table with a "
    "column label, .npz or .safetensors.",
)
@of_rows("--tune", type=_files_type, multiple=True, help="As --train, for choosing settings.")
@of_rows("--tune-labels", type=_files_type, multiple=True, help="As --train-labels.")
@of_rows("--test", type=_files_type, multiple=True, help="As --train, for scoring.")
@of_rows("--test-labels", type=_files_type, multiple=True, help="As --train-labels.")
@of_rows(
    "--features",
    is_flag=True,
    help="A matrix without a name, and the columns of a table, are features, not logits.",
)
@of_rows(
    "--shards",
    expert=True,
    is_flag=True,
    help="Several files of a split, or a pattern such as 'emb/*.npy' in quotes, are parts of its "
    "rows, in the order of the numbers in their names.",
)
@of_head(
    "--head",
    type=input_type,
    help=".npz, .safetensors or state dict: weight [, bias] or weight_norm "
    "[, class_counts, prior_counts, class_names, normalise], or a whole head that rectify wrote.",
)
@scale_option
@of_head(
    "--weights",
    expert=True,
    metavar="KEY",
    help="Which of several networks in the file of --head, by a key above it, such as state_dict.",
)
@of_rows(
    "--rows",
    type=click.Choice(names.FITTED_ROWS),
    help="Whether the network was trained on the samples of --train, or its logits there are of "
    "networks that were not, by folds.  [default: taken as seen]",
)
@output_option(CACHE, ".h5", ".hdf5", required=True, help="Cache, .h5.")
@overwrite_option
@json_option
def cli_command(
    features: bool,
    shards: bool,
    output: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Write a cache from your own logits, features or both.

    They are logits (N, K) or (V, N, K), features (N, D) or both, and labels (N,). Optional arrays:
    ids, one a sample, views, "clean" or "augmented", and class_names. Features alone need no head:
    `rectify --method` with one that fits a head, and `compare`, work on them. With --head, which
    may be such a fit, their logits are made when they are asked for. A table has a column label, if
    wanted id, and one of logits for each class, in class order; no others; with --features every
    other column is a feature. Scores (N,) of a binary classifier are those of its second class.
    What is larger than memory comes as .npy or .safetensors. Several views of the test split: the
    clean one is scored, or else the first.
    """
    check_outputs()

    from marr_pipeline.workflows.import_logits import SplitFiles, import_logits

    files: dict[str, Any] = {}
    for name in names.SPLITS:
        given = options.pop(name)
        rows = tuple(path for found in given for path in found)
        labels = tuple(path for found in options.pop(f"{name}_labels") for path in found)
        if not shards and any(len(found) > 1 for found in given):
            raise click.UsageError(
                f"--{name}: --shards expected with a pattern, whose files are parts of the rows; "
                "add it, or give the files of several backbones one by one"
            )
        _check_labels_option(name, rows, labels, features=features)
        if rows:
            files[name] = SplitFiles(rows=rows, labels=labels)
    imported = import_logits(files, output, features=features, shards=shards, **options)
    warn(imported.warnings)
    if as_json:
        print_json(imported.document())
    for line in imported.notes:
        note(line)
    method = "" if imported.has_head else " --method head"
    note(f"wrote {output}; next: pipeline rectify {output}{method}")


def _check_labels_option(
    name: str, rows: Sequence[Path], labels: Sequence[Path], *, features: bool
) -> None:
    """Labels stand in a file of their own exactly beside logits alone, and may beside features."""
    kind = "features" if features else "logits"
    if rows and not labels and all(path.suffix == ".npy" for path in rows):
        raise click.UsageError(
            f"--{name} {rows[0]}: --{name}-labels with an .npy of labels expected beside an .npy "
            f"of {kind}, got none; add it"
        )
    is_pair = all(path.suffix in _BARE for path in (*rows, *labels)) or features
    if labels and not (rows and is_pair):
        given = rows[0] if rows else None
        raise click.UsageError(
            f"--{name}-labels {labels[0]}: an .npy or .pt beside logits alone, as .npy or .pt, "
            f"expected, got --{name} {given}; every other kind of file holds its own labels"
        )
