"""`pipeline apply`: rectified logits and predictions."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note
from marr_pipeline.cli.options import check_output, input_type, output_type


def apply_rectifier(
    source: Path, rectifier_file: Path, *, split: str, any_head: bool
) -> dict[str, Any]:
    """Rectified arrays of a cache's split or of an `.npz` with `logits`.

    Args:
        source: cache, or `.npz` with logits (N, K) or (V, N, K), features where the rectifier needs
            them, and whatever else.
        rectifier_file: written by `pipeline rectify -o`.
        split: of a cache; its clean view is taken.
        any_head: accept a rectifier that was fitted on another head.

    Returns:
        `logits` as given in shape, float32, and `predictions` without the last axis, int64;
        `labels` and `ids` where the source has them.

    Raises:
        CacheError: the source is invalid or lacks the split.
        DataError: the rectifier is invalid, of another head or another number of classes.
    """
    import torch

    from marr_pipeline.cache import open_cache
    from marr_pipeline.errors import DataError
    from marr_pipeline.rectify.rectifier_file import load_rectifier
    from marr_pipeline.workflows.arrays.files import read_logits
    from marr_pipeline.workflows.cached import evaluation_rows, rectifier_for

    arrays: dict[str, Any] = {}
    if source.suffix == ".npz":
        rectifier = load_rectifier(rectifier_file)
        arrays = read_logits(source)
        logits = torch.from_numpy(arrays["logits"])
        given = arrays.pop("features", None)
        features = None if given is None else torch.from_numpy(given)
        if logits.shape[-1] != rectifier.num_classes:
            raise DataError(
                f"{source}: logits of {rectifier.num_classes} classes expected, as in "
                f"{rectifier_file}, got {logits.shape[-1]}"
            )
    else:
        cached = open_cache(source)
        rectifier = rectifier_for(cached, rectifier_file, any_head=any_head)
        rows = evaluation_rows(cached, split)
        logits, features, ids = rows.logits, rows.features, cached.split(split).ids
        arrays["labels"] = rows.labels.numpy()
        if ids is not None:
            arrays["ids"] = ids
    rectified = rectifier.apply(logits, features)
    return {
        **arrays,
        "logits": rectified.float().numpy(),
        "predictions": rectified.argmax(-1).numpy(),
    }


@command("apply")
@click.argument("source", type=input_type)
@click.argument("rectifier", type=input_type)
@click.option("--split", type=click.Choice(names.SPLITS), default="test", help="Of a cache.")
@click.option("--any-head", is_flag=True, help="Accept a rectifier fitted on another head.")
@click.option("-o", "--output", type=output_type, required=True, help="Arrays, .npz.")
def cli_command(source: Path, rectifier: Path, split: str, any_head: bool, output: Path) -> None:
    """Rectify the logits of SOURCE, a cache or an .npz, with RECTIFIER."""
    import numpy as np

    from marr_pipeline.files import replacing

    check_output(output, suffixes=(".npz",))
    arrays = apply_rectifier(source, rectifier, split=split, any_head=any_head)
    with replacing(output) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)
    note(f"wrote {output}: {', '.join(arrays)} of {len(arrays['predictions']):,} rows")
