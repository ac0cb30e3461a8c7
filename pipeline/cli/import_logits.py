"""`pipeline import`: logits of any origin into a cache."""

from pathlib import Path

import click

from pipeline.cli.command import command, json_option, note, print_json, warn
from pipeline.cli.outputs import check_output, output_type

input_type = click.Path(exists=True, dir_okay=False, path_type=Path)


@command("import")
@click.option("--train", type=input_type, required=True, help=".npz with logits and labels.")
@click.option("--tune", type=input_type, help="The same, for choosing settings.")
@click.option("--test", type=input_type, help="The same, for scoring.")
@click.option(
    "--head",
    type=input_type,
    help=".npz, .safetensors or state dict: weight [, bias] or weight_norm "
    "[, class_counts, prior_counts].",
)
@click.option("-o", "--output", type=output_type, required=True, help="Cache, .h5.")
@click.option("--overwrite", is_flag=True, help="Replace an existing cache.")
@json_option
def cli_command(
    train: Path,
    tune: Path | None,
    test: Path | None,
    head: Path | None,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a cache from logits (N, K) or (V, N, K) and labels (N,) of your own model.

    Optional arrays: features, and ids, one a sample. Several views of the test split: the first
    is scored.
    """
    from cache import open_cache
    from pipeline.cli.importing import import_arrays

    check_output(output, suffixes=(".h5", ".hdf5"))
    given = {"train": train, "tune": tune, "test": test}
    files = {name: path for name, path in given.items() if path is not None}
    warnings = import_arrays(files, head, output, overwrite=overwrite)
    warn(warnings)
    if as_json:
        cached = open_cache(output)
        print_json(
            {
                "command": "import",
                "cache": output,
                "fingerprint": cached.fingerprint,
                "splits": {name: cached.split(name).num_samples for name in cached.split_names},
                "warnings": warnings,
            }
        )
    note(f"wrote {output}; next: pipeline rectify {output}")
