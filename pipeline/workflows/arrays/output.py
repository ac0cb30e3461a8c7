"""Rectified rows as a file of arrays or a table, written block by block.

B rows of a block, K classes. A block has `logits`, `probabilities` and, if they were asked for,
`sets` (B, K), `predictions` (B,), and `labels` and `ids` (B,) where the source has them.
"""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.files import ROWS, replacing
from marr_pipeline.workflows.arrays.spool import Spool
from marr_pipeline.workflows.arrays.table import TABLES, write_table

Arrays = Mapping[str, npt.NDArray[Any]]


def is_table(output: Path) -> bool:
    """Whether a name is that of a table, which holds rows of one view."""
    return output.suffix.lower() in TABLES


def write_rows(
    output: Path,
    blocks: Iterable[Arrays],
    class_names: Sequence[str] | None,
    *,
    names_labels: bool,
    overwrite: bool = False,
) -> None:
    """Write rows as `.npz`, or as a table with a column of each class's numbers.

    Args:
        output: the file.
        blocks: at least one.
        class_names: K of them, if they are known.
        names_labels: whether each label is a class, by place or name, so that a table names it.
        overwrite: replace whatever file is there, not such rows alone.

    Raises:
        ConfigError: the library that writes it is not installed.
        PipelineError: it cannot be written, or something else is there.
    """
    with replacing(output, ROWS, overwrite=overwrite) as partial:
        if is_table(output):
            columns = (_columns(block, class_names, names_labels=names_labels) for block in blocks)
            write_table(partial, columns, suffix=output.suffix.lower())
        else:
            _write_npz(partial, blocks, class_names)


def joined_names(members: npt.NDArray[np.bool_], names: Sequence[str]) -> str:
    """Names of the members (K,) in class order, `cat;owl`; a name's own get a backslash."""
    chosen = (names[place] for place in np.flatnonzero(members).tolist())
    return ";".join(name.replace("\\", "\\\\").replace(";", "\\;") for name in chosen)


def _write_npz(path: Path, blocks: Iterable[Arrays], class_names: Sequence[str] | None) -> None:
    """As `numpy.savez` does, whose arrays would have to be whole."""
    spools: dict[str, Spool] = {}
    for block in blocks:
        for name, rows in block.items():
            spools.setdefault(name, Spool()).add(rows)
    if class_names is not None:
        spools["class_names"] = Spool()
        spools["class_names"].add(np.array(class_names))
    with zipfile.ZipFile(path, "w") as archive:
        for name, spool in spools.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                spool.save(file)


def _columns(
    arrays: Arrays, class_names: Sequence[str] | None, *, names_labels: bool
) -> dict[str, npt.NDArray[Any]]:
    """Of a table: ids, labels and predictions, by name where there are names; then scores."""
    num_classes = arrays["logits"].shape[1]
    columns = {key.removesuffix("s"): arrays[key] for key in ("ids", "labels") if key in arrays}
    columns["prediction"] = arrays["predictions"]
    if class_names is not None:
        names = np.array(class_names)
        columns["prediction"] = names[columns["prediction"]]
        if names_labels and columns["label"].dtype.kind in "iu":
            columns["label"] = names[columns["label"]]
    known = class_names or [str(place) for place in range(num_classes)]
    if "sets" in arrays:
        columns["set"] = np.array([joined_names(each, known) for each in arrays["sets"]])
        columns["set_size"] = arrays["sets"].sum(1)
    for key, word in (("logits", "logit"), ("probabilities", "probability")):
        for place, name in enumerate(known):
            columns[f"{word}_{name}"] = arrays[key][:, place]
    return columns
