"""Files by torch.save and `.safetensors` files, written, and read without running any code in them.

Their content tells what they are, whatever their suffix. Beside tensors and plain values a file by
torch.save may hold what timm, torchvision and common programs put there: an `argparse.Namespace`,
NumPy scalars, a `PosixPath`, a `defaultdict`. Nothing else is ever made of it.
"""

import hashlib
import itertools
import json
import mmap
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
from safetensors.torch import save
from torch import Tensor

from marr_pipeline.device import available_bytes
from marr_pipeline.errors import DataError, described
from marr_pipeline.reading import check_archive, is_memory_short

_EXPECTED = "a dict of tensors as .safetensors or by torch.save expected"
DIGEST = "sha256"
"""Key of a safetensors header. As a JSON string, like all of a rectifier's: SHA-256, 64 hex digits,
of the file with 64 zeros in their place."""
_UNSIGNED = json.dumps("0" * 64)
_MOST_NESTED, _MOST_CONTAINERS = 100, 1_000_000
"""Of what a pickle holds: few bytes of one can make a tree without an end."""
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
        MemoryError, RuntimeError: the content is larger than the memory there is.
    """
    try:
        with path.open("rb") as file:
            opening = file.read(64)
        _check_kind(opening, path)
        if is_safetensors(path):
            return read_safetensors(path)[0]
        # Files older than torch 1.6 are no zip, have no checksums and cannot be mapped; by the
        # suffix .safetensors torch would take any file for one.
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            _check_zip(path)
        is_mappable = mapped and is_zip and path.suffix != ".safetensors"
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
        _check_tree(content)
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
            f"{path}: {_EXPECTED}, got pickled "
            f"{f'objects ({found[1]})' if found else 'data of another kind'}; "
            f"save plain tensors, no objects{way}"
        ) from error
    except DataError:
        raise
    except Exception as error:
        if is_memory_short(error, path):
            raise
        if "TorchScript" in str(error):
            code = f"m = torch.jit.load({str(path)!r}, 'cpu')"
            raise DataError(
                f"{path}: {_EXPECTED}, got a TorchScript program; save its tensors by "
                f"{_python(code, 'm.state_dict()')}"
            ) from error
        raise DataError(
            f"{path}: {_EXPECTED}, got no file, or one that is cut short or of another kind "
            f"({described(error)}); copy it again"
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


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name and the metadata, without the digest, with which the file is compared.

    Raises:
        DataError: its bytes are not those of its digest, if it has one.
        Exception: whatever safetensors raises of what is none of its files.
    """
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    digest = header.pop(DIGEST, None)
    if digest is not None and digest != _digest_of(path, digest):
        raise DataError(
            f"{path}: the bytes that were written expected (SHA-256 {digest[1:13]}), got others; "
            f"copy it again, or, if it was changed on purpose, take {DIGEST} out of its header"
        )
    return tensors, header


def _digest_of(path: Path, digest: str) -> str:
    """The SHA-256 of a file with `_UNSIGNED` in place of the digest that it has."""
    stored = json.dumps(digest).encode()
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        at = content.find(stored)
        found = hashlib.sha256(view[:at])
        found.update(json.dumps(_UNSIGNED).encode())
        found.update(view[at + len(stored) :])
    return json.dumps(found.hexdigest())


def write_tensor_file(path: Path, content: Any, *, header: Mapping[str, str] | None = None) -> None:
    """Write what `read_tensor_file` reads.

    Args:
        path: of the file.
        content: tensors by name with a header; else whatever torch.save takes.
        header: metadata of a safetensors file, to which a digest is added; None writes a file of
            torch's, which has checksums.

    Raises:
        OSError: the file cannot be written.
    """
    if header is not None:
        tensors = {name: tensor.contiguous() for name, tensor in content.items()}
        # Not by `save_file`, whose files nobody but their owner may read.
        unsigned = save(tensors, {**header, DIGEST: _UNSIGNED})
        digest = json.dumps(hashlib.sha256(unsigned).hexdigest())
        before, after = (f'"{DIGEST}":{json.dumps(each)}'.encode() for each in (_UNSIGNED, digest))
        path.write_bytes(unsigned.replace(before, after, 1))
        return
    with path.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's word, over the system's
            known = error.__context__
            raise known if isinstance(known, OSError) else OSError(str(error)) from None


def check_fits(num_bytes: int) -> None:
    """Refuse what a small file is unpacked to, if there is no memory for it.

    Raises:
        ValueError: as said.
    """
    room = available_bytes(torch.device("cpu"))
    if room and num_bytes > room:
        raise ValueError(f"{num_bytes / 1e9:,.0f} GB in memory, where {room / 1e9:,.1f} are free")


def _check_zip(path: Path) -> None:
    """Compare the bytes of an archive of torch's with its CRC-32s, which torch itself does not.

    Measured on 100 MB of weights: 40 ms, beside 22 ms to load them. An archive that was written
    without checksums has zeros in their place.
    """
    with zipfile.ZipFile(path) as archive:
        check_archive(archive, size=path.stat().st_size)
        entries = archive.infolist()
        check_fits(sum(each.file_size for each in entries if each.compress_type))
        damaged = archive.testzip() if any(each.CRC for each in entries) else None
    if damaged is not None:
        raise ValueError(f"bytes of {damaged} that do not agree with their CRC-32")


def _check_tree(content: object) -> None:
    """Refuse what is nested without an end, or nearly so."""
    kinds = (Mapping, list, tuple, Namespace)
    found: list[tuple[Any, int]] = [(content, 0)] if isinstance(content, kinds) else []
    for rest in itertools.count(_MOST_CONTAINERS, -1):
        if not found:
            return
        node, depth = found.pop()
        if depth > _MOST_NESTED or rest < 0:
            raise ValueError(f"more than {_MOST_NESTED} containers in one another, or a ring")
        node = vars(node) if isinstance(node, Namespace) else node
        items = node.values() if isinstance(node, Mapping) else node
        found += [(each, depth + 1) for each in items if isinstance(each, kinds)]


def _check_kind(opening: bytes, path: Path) -> None:
    """Raise a DataError if the first bytes are those of a known other kind."""
    begun = opening.lstrip().lower()
    for first, got, remedy in _NOT_TENSORS:
        if begun.startswith(first):
            raise DataError(f"{path}: {_EXPECTED}, got {got}; {remedy}")


def _python(code: str, value: str) -> str:
    """The line for a shell that runs `code` and saves `value`."""
    return f"""python -c "import torch; {code}; torch.save({value}, 'weights.pt')\""""
