"""`pipeline export-npz`: everything in a cache as plain NumPy arrays."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.command import command, json_option, note, print_json
from pipeline.cli.inputs import input_type
from pipeline.cli.outputs import check_output, output_type

if TYPE_CHECKING:
    import numpy.typing as npt

    from cache import Cache, Split

    Arrays = dict[str, npt.NDArray[Any]]


def export_npz(cached: "Cache", output: Path, *, overwrite: bool) -> list[Path]:
    """Write one `.npz` a split and `head.npz` into a folder, or everything into one `.npz`.

    Rows go from the mapped cache to the disk block by block. In the single file the arrays of a
    split are called `train/logits`, those of the head `head/weight`; `pipeline import` reads both.

    Args:
        cached: an open cache.
        output: a folder, made if it is not there, or a file ending in `.npz`.
        overwrite: replace existing files.

    Returns:
        The files, complete or not there at all.

    Raises:
        PipelineError: a file exists already, or the folder or the disk refuses.
    """
    from cache import write_npz
    from pipeline.errors import PipelineError
    from pipeline.files import replacing

    contents = _contents(cached, output)
    existing = [path for path in contents if path.exists()]
    if existing and not overwrite:
        raise PipelineError(
            f"{existing[0]}: a free name expected, got an existing file; "
            "choose another -o or --overwrite"
        )
    # All names change only once every file is complete.
    with ExitStack() as stack:
        for path, arrays in contents.items():
            partial = stack.enter_context(replacing(path))
            with partial.open("wb") as file:
                write_npz(file, arrays)
    return list(contents)


def split_content(split: "Split") -> "Arrays":
    """`logits`, `features`, `labels`, `ids` and `views` of a split, as far as stored.

    A single view has no axis of its own, as in the cache file.
    """
    import numpy as np

    arrays = {"labels": split.labels, "views": np.array(split.views)}
    rows = {"logits": split.logits, "features": split.features}
    arrays |= {
        name: values[0] if len(values) == 1 else values
        for name, values in rows.items()
        if values is not None
    }
    if split.ids is not None:
        arrays["ids"] = np.array(split.ids)
    return arrays


def head_content(cached: "Cache") -> "Arrays":
    """The head's arrays, `class_counts`, `class_names` if stored, and `meta`.

    `meta` is one JSON text: the documents, what the fingerprint was computed from, and the root
    attributes. It is for reading; an import makes its own.
    """
    import numpy as np

    arrays: Arrays = {**cached.head.arrays(), "class_counts": cached.class_counts}
    if cached.class_names is not None:
        arrays["class_names"] = np.array(cached.class_names)
    documents = {
        "attributes": cached.attributes,
        "parts": cached.parts,
        "documents": {key: cached.meta(key) for key in cached.meta_keys},
    }
    return {**arrays, "meta": np.array(json.dumps(documents))}


def _contents(cached: "Cache", output: Path) -> "Mapping[Path, Arrays]":
    """Arrays by file."""
    groups = {name: split_content(split) for name, split in cached.splits.items()}
    groups["head"] = head_content(cached)
    if output.suffix != ".npz":
        return {output / f"{name}.npz": arrays for name, arrays in groups.items()}
    return {
        output: {
            f"{group}/{name}": array
            for group, arrays in groups.items()
            for name, array in arrays.items()
        }
    }


@command("export-npz")
@click.argument("cache", type=input_type)
@click.option(
    "-o", "--output", type=output_type, required=True, help="Folder, or one file ending in .npz."
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@json_option
def cli_command(cache: Path, output: Path, overwrite: bool, as_json: bool) -> None:
    """Write everything in CACHE as NumPy arrays: one .npz a split, and head.npz.

    `pipeline import` makes the same cache of them again.
    """
    from cache import open_cache
    from pipeline.files import unwritable

    cached = open_cache(cache)
    if output.suffix != ".npz":
        try:
            output.mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(output, error) from error
        check_output(output / "head.npz")
    else:
        check_output(output)
    files = export_npz(cached, output, overwrite=overwrite)
    if as_json:
        print_json({"command": "export-npz", "cache": cache, "files": files})
    note(f"wrote {', '.join(map(str, files))}")
