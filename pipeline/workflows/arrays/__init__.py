"""Arrays of others as users have them: `.npy`, `.npz`, tables, torch and safetensors.

Read here, unchecked; `parts` joins the files of a split, `rows` and `head` check what they hold
before it becomes a cache. No pickled object is ever loaded.
"""

import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.format import MAGIC_PREFIX, read_array
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.labels import shown
from marr_pipeline.reading import check_archive, reading
from marr_pipeline.tensor_file import check_fits, read_tensor_file
from marr_pipeline.workflows.arrays.columns import Holds
from marr_pipeline.workflows.arrays.table import TABLES, read_table

_TENSOR_SUFFIXES = (".safetensors", ".pt", ".pth")
ROW_SUFFIXES = (".npz", ".npy", *TABLES, *_TENSOR_SUFFIXES)
_ARRAYS = ("logits", "labels", "features")
KNOWN = ("logits", "features", "labels", "ids", "views", "class_names", "feature_names")
"""Arrays of a split whose names say what they are."""
PROBABILITIES = "probabilities"
"""Name of what is read in place of logits where there are none."""
_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


def read_part(
    name: str, path: Path, *, holds: Holds, is_labelled: bool, is_bare: bool
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of one file of a split, by name and unchecked.

    In a single file for all splits they carry the split's name, `train/logits`.

    Args:
        name: of the split.
        path: the file.
        holds: what a matrix without a name is, and the columns of a table.
        is_labelled: whether rows without labels are refused already here, as those of a table.
        is_bare: whether labels are in a file of their own.

    Raises:
        DataError: of no known kind, not of its kind, or damaged.
        ConfigError: the library that reads it is not installed.
    """
    suffix = path.suffix.lower()
    if is_bare and holds == "logits":
        return {"logits": _read_single(path)}
    if suffix in TABLES:
        return read_table(path, holds=holds, is_labelled=is_labelled)
    if suffix == ".npy" and not is_labelled:
        return {holds: map_npy(path)}
    if suffix == ".npz":
        arrays = read_npz(path, holds=holds)
    elif suffix in _TENSOR_SUFFIXES:
        content = read_tensor_file(path, mapped=True)
        arrays = _named(content, where=path)
        if holds == "features" and not isinstance(content, Mapping):
            arrays["features"] = arrays.pop("logits")
    else:
        raise DataError(
            f"{path}: {holds} and labels as .npz, {', '.join(TABLES[:2])}, "
            f"{', '.join(_TENSOR_SUFFIXES)} or a pair of .npy expected, got '{suffix}'; save them "
            "so"
        )
    if not {"logits", PROBABILITIES, "features"} & set(arrays):
        prefix = f"{name}/"
        own = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
        arrays = own or arrays
    return _with_features(arrays, where=path) if holds == "features" else arrays


def _with_features(
    arrays: dict[str, npt.NDArray[Any]], *, where: Path
) -> dict[str, npt.NDArray[Any]]:
    """The arrays with the one matrix among them as `features`, whatever its name."""
    found = [key for key, each in arrays.items() if each.dtype.kind == "f" and each.ndim > 1]
    if "features" in arrays or found == ["logits"]:
        return arrays
    found = [key for key in found if key != "logits"]
    if len(found) != 1:
        raise DataError(
            f"{where}: an array 'features', or a single matrix, expected, got "
            f"{shown(found or list(arrays)) or 'none'}; save the features under that name"
        )
    rest = {key: each for key, each in arrays.items() if key != found[0]}
    return {**rest, "features": arrays[found[0]], "feature_names": np.array(found)}


def read_labels(path: Path) -> dict[str, npt.NDArray[Any]]:
    """`labels`, and `ids` if there, of a file of labels.

    Raises:
        DataError: unreadable, or it holds several arrays, none of them `labels`.
        ConfigError: the library that reads it is not installed.
    """
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return read_table(path, holds="labels")
    arrays: dict[str, npt.NDArray[Any]] = {}
    if suffix == ".npz":
        arrays = read_npz(path)
    elif suffix != ".npy":
        content = read_tensor_file(path, mapped=True)
        arrays = _named(content, where=path) if isinstance(content, Mapping) else {}
    if "labels" in arrays:
        return {key: each for key, each in arrays.items() if key in ("labels", "ids")}
    return {"labels": next(iter(arrays.values())) if len(arrays) == 1 else _read_single(path)}


def map_npy(path: Path) -> npt.NDArray[Any]:
    """The array of an `.npy`, its bytes left in the file.

    Raises:
        DataError: not an `.npy`, truncated, or it holds objects.
    """
    expected = "an .npy file with one array of numbers"
    with reading(path, expected, "use numpy.save(path, array)"):
        # What is written to a private mapping never reaches the file; torch asks for such memory.
        loaded = np.load(path, mmap_mode="c", allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            loaded.close()
            raise ValueError("an archive, which is named .npz")
        return _sound(loaded)


def read_npz(path: Path, *, holds: Holds | None = None) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an `.npz`, by name.

    Args:
        path: the file.
        holds: what is looked for: where it is there by name, arrays of names that mean nothing stay
            in the file; None reads them all.

    Raises:
        DataError: not an archive, damaged, encrypted, larger than memory, or it holds objects.
    """
    remedy = "use numpy.savez(path, name=array, ...), without objects"
    with reading(path, "an .npz archive of plain arrays", remedy), path.open("rb") as raw:
        if raw.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX:
            raise ValueError("a single array")
        with zipfile.ZipFile(raw) as archive:
            check_archive(archive, size=path.stat().st_size)
            arrays = [each for each in archive.infolist() if each.filename.endswith(".npy")]
            entries = {each.filename.removesuffix(".npy"): each for each in arrays}
            known = [name for name in KNOWN if name in entries] if holds in entries else entries
            check_fits(sum(entries[name].file_size for name in known))
            return {name: _entry(archive, entries[name]) for name in known}


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(entry) as file:
        found = read_array(file, allow_pickle=False)
        if file.read(1):  # which compares the CRC-32 at the end
            raise ValueError(f"{entry.filename}, which is longer than its array")
    return _sound(found)


def _sound(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same array."""
    if array.dtype.kind == "U" and array.size:
        codes = np.ascontiguousarray(array).reshape(-1).view(array.dtype.byteorder + "u4")
        if (codes > sys.maxunicode).any() or ((codes >= 0xD800) & (codes < 0xE000)).any():
            raise ValueError("text that is no Unicode")
    return array


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every tensor, and every list of strings or integers, of a `.safetensors` or torch file.

    Tensors stay mapped where the file allows it. bfloat16 becomes float32; what NumPy has, stays.

    Raises:
        DataError: unreadable, not a dict, or it would need pickled code.
    """
    content = read_tensor_file(path, mapped=True)
    if not isinstance(content, Mapping):
        raise _no_dict(content, path)
    return _named(content, where=path)


def _named(content: object, *, where: Path) -> dict[str, npt.NDArray[Any]]:
    """`_arrays`, whose tensors may be of any kind that torch has."""
    with reading(where, "plain tensors", "save them as tensor.contiguous()"):
        return _arrays(content, where=where)


def _arrays(content: object, *, where: Path) -> dict[str, npt.NDArray[Any]]:
    """Arrays of what torch.save wrote: of a dict, or logits and labels as loops collect them.

    That is a tensor of logits, a list of batches, a pair (logits, labels), or a list of such pairs;
    batches are joined.
    """
    if isinstance(content, Mapping):
        found = {str(name): _array(value) for name, value in content.items()}
        for name in _ARRAYS:
            if name in found and found[name] is None:
                raise DataError(
                    f"{where}: {name}: one tensor, or a list of batches of one type and width, "
                    f"expected, got {_described(content[name])}; join them by torch.cat"
                )
        return {name: array for name, array in found.items() if array is not None}
    if isinstance(content, list | tuple):
        pairs = [content] if _is_pair(content) else content
        if all(map(_is_pair, pairs)) and pairs:
            columns = [_array([pair[place] for pair in pairs]) for place in (0, 1)]
            if columns[0] is not None and columns[1] is not None:
                return {"logits": columns[0], "labels": columns[1]}
    if not isinstance(content, tuple):  # one of two arrays of one kind may be train and test
        logits = _array(content)
        if logits is not None and logits.dtype.kind == "f":
            return {"logits": logits}
    raise _no_dict(content, where)


def _array(value: object) -> npt.NDArray[Any] | None:
    """A tensor, a list of strings or integers, or batches joined; None of anything else.

    Scores (K,) in a list are rows where all of them are of one length.
    """
    if isinstance(value, Tensor):
        value = value.dequantize() if value.is_quantized else value
        num_bytes = value.numel() * value.element_size()
        if value.layout != torch.strided:
            check_fits(num_bytes)
            value = value.to_dense()
        elif num_bytes > value.untyped_storage().nbytes():
            raise ValueError(f"a tensor {tuple(value.shape)} that repeats its numbers")
        is_other_float = value.is_floating_point() and value.dtype not in _NUMPY_FLOATS
        return (value.float() if is_other_float else value).detach().numpy()
    if not isinstance(value, list | tuple):
        return None
    if {type(item) for item in value} in (set(), {str}, {int}):
        return np.array(value)
    batches = [item for item in value if isinstance(item, Tensor) and item.ndim]
    shapes = {(item.dtype, item.shape[1:]) for item in batches}
    if len(batches) < len(value) or len(shapes) != 1:
        return None
    is_row = batches[0].ndim == 1 and batches[0].is_floating_point()
    if is_row and len(batches) > 1 and len({len(item) for item in batches}) == 1:
        return _array(torch.stack(batches))
    return _array(torch.cat(batches))


def _is_pair(value: object) -> bool:
    """Whether it is (logits, labels) of one batch."""
    return (
        isinstance(value, list | tuple)
        and [type(item) for item in value] == [Tensor, Tensor]
        and value[0].is_floating_point()
        and not value[1].is_floating_point()
        and value[0].shape[:1] == value[1].shape
    )


def _read_single(path: Path) -> npt.NDArray[Any]:
    """The one array of an `.npy` or torch file; batches in a list are joined."""
    if path.suffix.lower() == ".npy":
        return map_npy(path)
    content, found = read_tensor_file(path, mapped=True), None
    if not isinstance(content, Mapping):
        with reading(path, "one plain tensor", "save it as tensor.contiguous()"):
            found = _array(content)
    if found is None:
        raise DataError(
            f"{path}: one tensor, or a list of batches of one width, expected, got "
            f"{_described(content)}; leave the file of labels out, or save the tensor alone"
        )
    return found


def _no_dict(content: object, path: Path) -> DataError:
    return DataError(
        f"{path}: a dict of tensors as .safetensors or by torch.save expected, got: "
        f"{_described(content)}; save plain tensors as "
        "torch.save({'logits': logits, 'labels': labels}, path)"
    )


def _described(content: object) -> str:
    """What an object is, and what is in it, in a few words."""
    if isinstance(content, Tensor):
        return f"a tensor {str(content.dtype).removeprefix('torch.')} {tuple(content.shape)}"
    if isinstance(content, list | tuple):
        inner = ", ".join(map(_described, content[:3])) + (", ..." if len(content) > 3 else "")
        return f"a {type(content).__name__} of {inner or 'nothing'}"
    return f"a {type(content).__name__}"
