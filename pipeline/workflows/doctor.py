"""`doctor`: whether this machine can do what the program asks of it, and what to do if not.

What is examined may be broken, so each library is loaded inside the part that looks at it.
"""

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

from marr_pipeline import __version__
from marr_pipeline.files import check_writable, held_lock
from marr_pipeline.workflows import CREATOR

DISTRIBUTION = "marr-pipeline"
IMPORTED_AS = {"pillow": "PIL", "scikit-learn": "sklearn"}
"""Where a library's import name is not its own."""
EXTRAS = {
    "onnx": (("onnx", "onnxruntime", "onnxscript"), "graphs for ONNX Runtime in export"),
    "tables": (("pyarrow",), "files as .parquet in import and apply"),
    "timm": (("timm",), "networks and weights as --backbone timm:NAME"),
}
"""Of setup.cfg: what each installs, and what that adds."""
LITTLE_SPACE, TOO_LITTLE_SPACE = 5 * 1000**3, 100 * 1000**2
LITTLE_MEMORY = 2 * 1000**3
LITTLE_SHARED_MEMORY = 1000**3
"""Bytes."""

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    Attributes:
        name: of it.
        text: what was found.
        state: `ok`; `note` for what may cost time or a feature; `problem` for what would fail.
        remedy: what to do, if it is not `ok`.
    """

    name: str
    text: str
    state: State = "ok"
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.state:<8} {self.name}: {self.text}{remedy}"


def examine(output: Path) -> tuple[Line, ...]:
    """Look at everything.

    Args:
        output: folder that files are to be written to.
    """
    here = Path.cwd()
    folders = {"current folder": here}
    if output.resolve() != here:
        folders["output folder"] = output
    parts: list[Callable[[], Iterator[Line]]] = [_versions, _devices, _processors, _memory]
    parts += [partial(_folder, name, path) for name, path in folders.items()]
    parts += [_caches, _extras]
    return tuple(line for part in parts for line in _guarded(part))


def _guarded(part: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """The lines of a part; what breaks it is a problem by itself."""
    name = getattr(part, "func", part).__name__.lstrip("_")
    try:
        yield from part()
    except Exception as error:
        yield Line(name, f"{type(error).__name__}: {error}", "problem", "mend that first")


def _versions() -> Iterator[Line]:
    yield Line("program", f"{DISTRIBUTION} {__version__} in {Path(__file__).parents[1]}")
    yield Line("Python", f"{platform.python_version()} on {platform.platform()}")
    for requirement in metadata.requires(DISTRIBUTION) or []:
        if ";" not in requirement:
            yield _library(requirement)


def _library(requirement: str) -> Line:
    """A library that is required, such as `torch>=2.6`."""
    name, least = re.split(r">=", requirement)
    remedy = f"pip install --force-reinstall '{requirement}'"
    try:
        version = metadata.version(name)
        module = import_module(IMPORTED_AS.get(name, name))
    except Exception as error:
        return Line(name, f"{least} or newer expected, got: {error}", "problem", remedy)
    if _numbers(version) < _numbers(least):
        return Line(name, f"{least} or newer expected, got {version}", "problem", remedy)
    inner = f", HDF5 {module.version.hdf5_version}" if name == "h5py" else ""
    return Line(name, version + inner)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


def _devices() -> Iterator[Line]:
    import torch

    from marr_pipeline.device import dtype_name, fast_precision

    count = torch.cuda.device_count()
    for index in range(count):
        device = torch.cuda.get_device_properties(index)
        yield Line(f"cuda:{index}", f"{device.name}, {_size(device.total_memory)}")
    if not count:
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else ""
        yield Line(
            "GPU",
            f"none that torch can use{'; ' * bool(built)}{built}",
            "note",
            "phase two needs none; large networks train and extract slowly without",
        )
    fast = dtype_name(fast_precision(torch.device("cuda" if count else "cpu")))
    yield Line("precision", f"--precision auto trains in {fast}")


def _processors() -> Iterator[Line]:
    import torch

    from marr_pipeline.data.source import num_cores
    from marr_pipeline.rectify.rows.kernel import VARIABLE, kernel_name

    allowed, quota = num_cores(), _cgroup_cores()
    usable = allowed if quota is None else min(allowed, quota)
    text = f"{os.cpu_count()} in the machine, {allowed} for this process"
    yield Line("cores", text + ("" if quota is None else f", {quota:g} by the container's limit"))
    threads = torch.get_num_threads()
    said = ", ".join(
        f"{name}={os.environ[name]}"
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")
        if name in os.environ
    )
    if threads > max(1, usable):
        remedy = f"set OMP_NUM_THREADS={max(1, int(usable))}: threads that wait for one another"
        yield Line("threads", f"{threads}; {said}", "note", f"{remedy} on a core cost much")
    else:
        yield Line("threads", f"{threads}; {said}".rstrip("; "))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > usable:
        remedy = "times will be longer, and not comparable"
        yield Line("load", f"{load:.1f} processes at work on {usable:g} cores", "note", remedy)
    way = kernel_name()
    if way == "torch" and not os.environ.get(VARIABLE):
        remedy = "install a C compiler (GCC or Clang), then this again: compiled they are quicker"
        yield Line("passes over logits", f"{way}; nothing of this state was built", "note", remedy)
    else:
        yield Line("passes over logits", way)


def _cgroup_cores(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores' worth of time that a container may use; None without a limit."""
    for paths in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = [
                word for path in paths for word in (root / path).read_text(encoding="ascii").split()
            ]
        except OSError:
            continue
        if len(words) == 2 and words[0].isdigit():
            return int(words[0]) / int(words[1])
    return None


def _memory() -> Iterator[Line]:
    import torch

    from marr_pipeline.device import available_bytes

    free = available_bytes(torch.device("cpu"))
    if not free:
        yield Line("memory", "not told by this system")
    elif free < LITTLE_MEMORY:
        remedy = "bound a fit's buffers by --memory, and take a smaller --batch-size"
        yield Line("memory", f"{_size(free)} available", "note", remedy)
    else:
        yield Line("memory", f"{_size(free)} available")
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total
        is_little = size < LITTLE_SHARED_MEMORY
        remedy = "processes that decode images share it: docker run --shm-size 2g, or --workers 0"
        said = (f"/dev/shm of {_size(size)}", "note", remedy) if is_little else (_size(size),)
        yield Line("shared memory", *said)


def _folder(name: str, folder: Path) -> Iterator[Line]:
    """Whether a folder takes files, a cache among them, and has space and locks."""
    probe = folder / f".marr-doctor-{os.getpid()}.h5"
    try:
        check_writable(probe)
        with held_lock(probe) as has_lock:
            pass
        _write_and_read(probe)
        hdf5_refusal = _hdf5_refusal(probe)
    except Exception as error:
        yield Line(name, f"{error}", "problem")
        return
    finally:
        probe.unlink(missing_ok=True)
    yield Line(name, f"{folder} takes caches")
    if has_lock:
        yield Line(f"{name}'s locks", "a second writer of a file is refused")
    else:
        remedy = "start one writer of a file at a time"
        yield Line(f"{name}'s locks", "its file system has none", "note", remedy)
    if hdf5_refusal:
        remedy = "no command minds; programs of your own need HDF5_USE_FILE_LOCKING=FALSE"
        yield Line(f"{name}'s HDF5 locks", hdf5_refusal, "note", remedy)
    free = shutil.disk_usage(folder).free
    state: State = "problem" if free < TOO_LITTLE_SPACE else "note" if free < LITTLE_SPACE else "ok"
    remedy = "" if state == "ok" else "--dry-run says what a command will write"
    yield Line(f"{name}'s space", f"{_size(free)} free", state, remedy)


def _write_and_read(path: Path) -> None:
    """A small cache, by all that a large one needs: names changed in one step, pages mapped."""
    import numpy as np

    from marr_pipeline.cache import CachePlan, Head, SplitArrays, open_cache, write_arrays

    rows = SplitArrays(logits=np.eye(2, dtype=np.float32)[None], labels=np.arange(2))
    plan = CachePlan(
        splits={"test": rows.plan},
        class_counts=np.ones(2, dtype=np.int64),
        head=Head(weight_norm=np.ones(2)),
        parts={},
        meta={},
        creator=CREATOR,
        libraries={},
    )
    write_arrays(path, plan, {"test": rows})
    open_cache(path)


def _hdf5_refusal(path: Path) -> str:
    """What HDF5 says where it cannot lock a file, as it does by itself; or nothing."""
    import h5py

    try:
        h5py.File(path, "r+").close()
    except OSError as error:
        return str(error)
    return ""


def _caches() -> Iterator[Line]:
    """Where libraries keep files between runs, and files in between."""
    temporary = Path(tempfile.gettempdir())
    settings = Path(os.environ.get("MPLCONFIGDIR") or Path.home() / ".config")
    weights = Path(os.environ.get("TORCH_HOME") or Path.home() / ".cache")
    for name, folder, remedy in (
        ("temporary folder", temporary, "set TMPDIR"),
        ("settings of matplotlib", settings, "set MPLCONFIGDIR, or each figure looks for fonts"),
        ("downloaded weights", weights, "set TORCH_HOME, which --pretrained writes to"),
    ):
        nearest = next(one for one in (folder, *folder.parents) if one.exists())
        if os.access(nearest, os.W_OK):
            yield Line(name, f"{folder}")
        else:
            state: State = "problem" if folder == temporary else "note"
            yield Line(name, f"{folder} cannot be written", state, remedy)
    if locking := os.environ.get("HDF5_USE_FILE_LOCKING"):
        yield Line("HDF5_USE_FILE_LOCKING", locking)


def _extras() -> Iterator[Line]:
    for extra, (libraries, adds) in EXTRAS.items():
        try:
            versions = ", ".join(f"{name} {metadata.version(name)}" for name in libraries)
        except metadata.PackageNotFoundError:
            remedy = f"pip install {' '.join(libraries)} adds {adds}"
            yield Line(f"extra {extra}", "not installed", "note", remedy)
        else:
            yield Line(f"extra {extra}", f"{versions}: {adds}")


def _size(count: int) -> str:
    return f"{count / 1000**3:,.1f} GB"
