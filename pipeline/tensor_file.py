"""Files by torch.save and `.safetensors` files, written, and read without running any code in them.

Their content tells what they are, whatever their suffix. Beside tensors and plain values a file by
torch.save may hold what timm, torchvision and common programs put there: an `argparse.Namespace`,
NumPy scalars, a `PosixPath`, a `defaultdict`. Nothing else is ever made of it.
"""

import pickle
import re
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from marr_pipeline.errors import DataError

_CLASS = re.compile(r"GLOBAL (\S+)")
_NOT_TENSORS = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer in its place",
        "fetch the file itself: git lfs pull",
    ),
    *(
        (opening, "a web page in its place", "download the file itself; it may ask for a login")
        for opening in (b"<!doctype html", b"<html")
    ),
    (b"\x89hdf", "an HDF5 file", "give the network's own checkpoint"),
)
"""First bytes in lower case, what they tell, and what to do."""

_TO_STATE_DICT = (
    "f = lambda v: torch.as_tensor(v) if hasattr(v, '__array__') else {k: f(w) for k, w in "
    "getattr(v, 'state_dict', lambda: v)().items() "
    "if hasattr(w, '__array__') or isinstance(w, dict) or hasattr(w, 'state_dict')}"
)
"""Python: of anything that holds tensors or NumPy arrays, the dicts of tensors."""


def _number_type(code: str, align: bool = False, copy: bool = True) -> np.dtype[np.generic]:
    """For a pickle's `numpy.dtype`: a new one always, so that none of NumPy's own is changed."""
    found = np.dtype(code, align=False, copy=True)
    if found.kind not in "biufcU":
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL numpy.dtype[{code}]")
    return found


def _plain_dict(factory: object = None) -> dict[object, object]:
    """For a pickle's `defaultdict`, whose factory is of no use to a reader."""
    return {}


def _no_factory(*arguments: object) -> None:
    """For what a `defaultdict` may name as its factory."""


_numpy_scalar: Any = np.float64(0).__reduce__()[0]

_SAFE: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    Namespace,
    *((PurePosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
    (_plain_dict, "collections.defaultdict"),
    *((_no_factory, f"builtins.{name}") for name in ("dict", "float", "int", "list", "str")),
    (_number_type, "numpy.dtype"),
    *{type(np.dtype(code)) for code in (*np.typecodes["AllInteger"], *"?efdFDU")},
    *((_numpy_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


def read_tensor_file(path: Path, *, mapped: bool = False) -> object:
    """What a file holds, its tensors on the CPU wherever they were saved from.

    Args:
        path: a `.safetensors` file, or one by torch.save in any of its formats.
        mapped: leave tensors in the file until they are used, where the format allows it.

    Raises:
        DataError: no such file, damaged, of another kind, or it would need pickled code; it says
            what to do in each case.
    """
    try:
        with path.open("rb") as file:
            opening = file.read(64)
        _check_kind(opening, path)
        if is_safetensors(path):
            return load_file(path)
        # Files older than torch 1.6 are no zip and cannot be mapped; by the suffix .safetensors
        # torch would take any file for one.
        is_mappable = mapped and zipfile.is_zipfile(path) and path.suffix != ".safetensors"
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals(_SAFE),
            path.open("rb") as file,
        ):
            # What torch warns of, it then refuses; the one line of that error is enough.
            warnings.simplefilter("ignore")
            content: object = torch.load(
                path if is_mappable else file,
                map_location="cpu",
                weights_only=True,
                mmap=is_mappable,
            )
    except pickle.UnpicklingError as error:
        # Its text is a page long and advises to run the code.
        found, way = _CLASS.search(str(error)), ""
        if found:
            code = f"c = torch.load({str(path)!r}, 'cpu', weights_only=False); {_TO_STATE_DICT}"
            way = (
                ": only if you trust whoever made the file, since this runs its code, by "
                + _python(code, "f(c)")
            )
        raise DataError(
            f"{path}: a dict of tensors as .safetensors or by torch.save expected, got pickled "
            f"{f'objects ({found[1]})' if found else 'data of another kind'}; "
            f"save plain tensors, no objects{way}"
        ) from error
    except DataError:
        raise
    except Exception as error:  # torch's reader meets a damaged byte with almost any of them
        if "TorchScript" in str(error):
            code = f"m = torch.jit.load({str(path)!r}, 'cpu')"
            raise DataError(
                f"{path}: a dict of tensors as .safetensors or by torch.save expected, got a "
                f"TorchScript program; save its tensors by {_python(code, 'm.state_dict()')}"
            ) from error
        raise DataError(
            f"{path}: a dict of tensors as .safetensors or by torch.save expected, got no file, or "
            f"one that is cut short or of another kind ({type(error).__name__}: "
            f"{next(iter(str(error).splitlines()), 'no more is said')}); copy it again"
        ) from error
    return content


def is_safetensors(path: Path) -> bool:
    """Whether a file of tensors is a safetensors file, by its content or else by its name."""
    with path.open("rb") as file:
        opening = file.read(9)
    by_torch = opening[:1] == b"\x80" or zipfile.is_zipfile(path)
    is_named_so = path.suffix == ".safetensors" and not by_torch
    return opening[8:9] == b"{" or is_named_so  # after the length of its JSON


def safetensors_header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def write_tensor_file(path: Path, content: Any, *, header: Mapping[str, str] | None = None) -> None:
    """Write what `read_tensor_file` reads.

    Args:
        path: of the file.
        content: tensors by name with a header; else whatever torch.save takes.
        header: metadata of a safetensors file; None writes a file of torch's.

    Raises:
        OSError: the file cannot be written.
    """
    if header is not None:
        tensors = {name: tensor.contiguous() for name, tensor in content.items()}
        # Not by `save_file`, whose files nobody but their owner may read.
        path.write_bytes(save(tensors, dict(header)))
        return
    with path.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's word, over the system's
            known = error.__context__
            raise known if isinstance(known, OSError) else OSError(str(error)) from None


def _check_kind(opening: bytes, path: Path) -> None:
    """Raise a DataError if the first bytes are those of a known other kind."""
    begun = opening.lstrip().lower()
    for first, got, remedy in _NOT_TENSORS:
        if begun.startswith(first):
            raise DataError(
                f"{path}: a dict of tensors as .safetensors or by torch.save expected, got {got}; "
                f"{remedy}"
            )


def _python(code: str, value: str) -> str:
    """The line for a shell that runs `code` and saves `value`."""
    return f"""python -c "import torch; {code}; torch.save({value}, 'weights.pt')\""""
