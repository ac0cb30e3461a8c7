"""Arrays of others as users have them: `.npy`, `.npz`, text tables, torch and safetensors.

Read here, unchecked; `rows` and `head` check what they hold before it becomes a cache. No pickled
object is ever loaded.
"""

import csv
import re
import zipfile
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.errors import DataError, first_line
from marr_pipeline.tensor_file import read_tensor_file

_TENSOR_SUFFIXES = (".safetensors", ".pt", ".pth")
_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)
_LABEL, _ID = "label", "id"
_COUNTING = re.compile(r"(?:logits?|class)?[ _.]?(\d+)", re.IGNORECASE)
_SHOWN_COLUMNS = 6
_ADVICE = "write a column 'label', if wanted 'id', and one of logits for each class, in class order"


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """Where the rows of one split are.

    Attributes:
        rows: `.npz`, `.csv`, `.safetensors`, `.pt` or `.pth` with logits and labels, or `.npy`
            with the logits alone.
        labels: `.npy` with the labels, beside an `.npy` of logits.
    """

    rows: Path
    labels: Path | None = None

    def __str__(self) -> str:
        return str(self.rows) if self.labels is None else f"{self.rows}, {self.labels}"


def read_split(name: str, files: SplitFiles) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a split's files, by name and unchecked.

    In a single file for all splits they carry the split's name, `train/logits`.

    Raises:
        DataError: a file is of no known kind, not of its kind, or damaged.
    """
    suffix = files.rows.suffix
    if suffix == ".npy" and files.labels is not None:
        return {"logits": map_npy(files.rows), "labels": map_npy(files.labels)}
    if suffix == ".csv":
        return read_csv(files.rows)
    if suffix == ".npz":
        arrays = read_npz(files.rows)
    elif suffix in _TENSOR_SUFFIXES:
        arrays = read_tensors(files.rows)
    else:
        raise DataError(
            f"{files.rows}: logits and labels as .npz, .csv, {', '.join(_TENSOR_SUFFIXES)} or a "
            f"pair of .npy expected, got '{suffix}'; save them so"
        )
    if "logits" in arrays:
        return arrays
    prefix = f"{name}/"
    own = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
    return own or arrays


def read_logits(path: Path) -> dict[str, npt.NDArray[Any]]:
    """`logits` (..., K) of an `.npz`, with `labels`, `ids` and `features` where they are there.

    Raises:
        DataError: not an `.npz`, damaged, or it holds objects; no logits in it, or logits that are
            not finite numbers, or features of others.
    """
    found = read_npz(path)
    wanted = ("logits", "labels", "ids", "features")
    arrays = {name: found[name] for name in found if name in wanted}
    logits = arrays.get("logits")
    if logits is None or logits.ndim < 2 or logits.dtype.kind != "f" or not logits.size:
        got = "none" if logits is None else f"{logits.shape} {logits.dtype}"
        raise DataError(f"{path}: floating-point 'logits' (N, K) expected, got {got}")
    if not np.isfinite(logits).all():
        row = np.argwhere(~np.isfinite(logits))[0].tolist()
        raise DataError(f"{path}: finite logits expected, got {logits[tuple(row)]} at {row}")
    features = arrays.get("features")
    if features is not None and features.shape[:-1] != logits.shape[:-1]:
        raise DataError(
            f"{path}: features of the rows of logits {logits.shape} expected, got {features.shape}"
        )
    return arrays


def map_npy(path: Path) -> npt.NDArray[Any]:
    """The array of an `.npy`, its bytes left in the file.

    Raises:
        DataError: not an `.npy`, truncated, or it holds objects.
    """
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path}: an .npy file with one array of numbers expected, got {first_line(error)}; "
            "use numpy.save(path, array)"
        ) from error
    if not isinstance(loaded, np.ndarray):
        loaded.close()
        raise DataError(
            f"{path}: an .npy file with one array expected, got an archive; name it .npz"
        )
    return loaded


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of an `.npz`, by name.

    Raises:
        DataError: not an archive, damaged, or it holds objects.
    """
    try:
        with path.open("rb") as raw:
            loaded = np.load(raw, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                with loaded:
                    return dict(loaded)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: an .npz archive of plain arrays expected, got {first_line(error)}; "
            "use numpy.savez(path, name=array, ...), without objects"
        ) from error
    raise DataError(
        f"{path}: an .npz archive expected, got a single array; "
        "use numpy.savez(path, name=array, ...)"
    )


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every tensor, and every list of strings or integers, of a `.safetensors` or torch file.

    Tensors stay mapped where the file allows it. bfloat16 becomes float32; what NumPy has, stays.

    Raises:
        DataError: unreadable, not a dict, or it would need pickled code.
    """
    content = read_tensor_file(path, mapped=True)
    if not isinstance(content, Mapping):
        raise DataError(
            f"{path}: a dict of tensors as .safetensors or by torch.save expected, got: "
            f"a {type(content).__name__}; save plain tensors, no objects"
        )
    found: dict[str, npt.NDArray[Any]] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            is_other_float = value.is_floating_point() and value.dtype not in _NUMPY_FLOATS
            found[str(name)] = (value.float() if is_other_float else value).detach().numpy()
        elif isinstance(value, list | tuple) and {type(item) for item in value} in (
            set(),
            {str},
            {int},
        ):
            found[str(name)] = np.array(value)
    return found


def read_csv(path: Path) -> dict[str, npt.NDArray[Any]]:
    """`labels` (N,), `logits` (N, K) float32 and, if there, `ids` and `class_names`.

        id,label,cat,dog,owl
        img_1.png,0,3.25,-1.5,0.75

    `label` is the class id, `id` may be left out, and every other column holds the logits of one
    class, in class order. Their names become the class names, unless they only count: `0`, `1`,
    ... or `logit_0`, `logit_1`, ...

    Raises:
        DataError: no such header, or a cell that is no number; it names line and column.
    """

    def unlike(found: str) -> DataError:
        expected = "a table of comma-separated UTF-8 text expected"
        return DataError(f"{path}: {expected}, got {found}; {_ADVICE}")

    values, ids = array("f"), []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            columns = [name.strip() for name in next(lines, [])]
            classes, class_names = _columns_of_logits(columns, where=str(path))
            for cells in filter(None, lines):
                if len(cells) != len(columns):
                    line = f"line {lines.line_num} under {len(columns)} names"
                    raise unlike(f"{len(cells)} columns in {line}")
                if _ID in columns:
                    place = columns.index(_ID)
                    ids.append(cells[place].strip())
                    cells[place] = "0"
                try:
                    values.extend(map(float, cells))
                except ValueError:
                    place = len(values) % len(columns)
                    line = f"line {lines.line_num}, column {columns[place]!r}"
                    raise unlike(f"{cells[place]!r} in {line}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unlike(first_line(error)) from error
    if not values:
        raise DataError(f"{path}: at least one row below the header expected, got none; add rows")
    numbers = np.frombuffer(values, dtype=np.float32).reshape(-1, len(columns))
    labels = numbers[:, columns.index(_LABEL)]
    is_whole = np.isfinite(labels) & (labels == np.round(labels))
    arrays = {
        # Others are refused as they are, like those of any other file.
        "labels": labels.astype(np.int64) if is_whole.all() else labels,
        "logits": numbers[:, classes],
    }
    if ids:
        arrays["ids"] = np.array([int(i) for i in ids] if all(map(_is_whole, ids)) else ids)
    if class_names is not None:
        arrays["class_names"] = np.array(class_names)
    return arrays


def _columns_of_logits(columns: list[str], *, where: str) -> tuple[list[int], list[str] | None]:
    """Their places, and their names unless they only count, and in the right order.

    Raises:
        DataError: no header of this kind, or columns that count in another order.
    """
    if columns.count(_LABEL) != 1 or len(set(columns)) < len(columns):
        more = ", ..." if len(columns) > _SHOWN_COLUMNS else ""
        shown = ", ".join(columns[:_SHOWN_COLUMNS]) + more
        raise DataError(
            f"{where}: a header row with one column 'label' and a name of its own for each other "
            f"column expected, got {shown or 'nothing'}; {_ADVICE}"
        )
    places = [place for place, name in enumerate(columns) if name not in (_LABEL, _ID)]
    names = [columns[place] for place in places]
    matches = [_COUNTING.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in matches if match is not None]
    if not names or len(numbers) < len(names):
        return places, names
    for place, number in enumerate(numbers, start=min(numbers[0], 1)):
        if number != place:
            raise DataError(
                f"{where}: columns of logits in class order expected, got column {number} where "
                f"{place} was due; sort them by number"
            )
    return places, None


def _is_whole(text: str) -> bool:
    """Whether it is an int64 as Python writes it, so that nothing is lost: not 007."""
    return text.lstrip("-").isdecimal() and len(text) < 19 and str(int(text)) == text
