"""Where the two phases compute, in how many threads, and in which precision fast."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from marr_pipeline.errors import ConfigError
from marr_pipeline.names import DEVICES, PRECISIONS


def resolve_device(name: str) -> torch.device:
    """The device of `auto`, `cpu` or `cuda`; `auto` takes a GPU where there is one.

    Raises:
        ConfigError: an unknown name, or `cuda` without a usable GPU.
    """
    if name not in DEVICES:
        raise ConfigError(f"device: one of {', '.join(DEVICES)} expected, got {name}; choose one")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: a usable CUDA device expected, got none; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision of training that a user names; `auto` is `fast_precision`.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in PRECISIONS:
        raise ConfigError(
            f"precision: one of {', '.join(PRECISIONS)} expected, got {name}; choose one"
        )
    if name == "auto":
        return fast_precision(device)
    found: torch.dtype = getattr(torch, name)
    return found


def fast_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, float32 elsewhere.

    A CPU without such instructions runs bfloat16 by converting to float32 and back, which is
    slower than float32. `torch.ops.mkldnn._is_mkldnn_bf16_supported` says yes to those as well,
    so the instruction sets are asked for by name (torch versions that cannot tell: float32).
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    native = any(capabilities.get(flag, False) for flag in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def available_bytes(device: torch.device) -> int:
    """Memory that is free or would be freed on demand, for choices that change no result.

    On a CPU as Linux counts it, within the container's limit; where neither is told, 0.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = []
    for line in _words_of("/proc/meminfo"):
        if line[0] == "MemAvailable:":
            found.append(1024 * int(line[1]))
    limits = [_words_of(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current")]
    if all(line and line[0][0].isdigit() for line in limits):
        found.append(int(limits[0][0][0]) - int(limits[1][0][0]))
    return max(0, min(found, default=0))


def _words_of(path: str) -> list[list[str]]:
    """The words of each line of a file of the system's; none where it does not have it."""
    try:
        return [line.split() for line in Path(path).read_text(encoding="ascii").splitlines()]
    except OSError:
        return []


def dtype_name(dtype: torch.dtype) -> str:
    """`bfloat16`, `float16` or `float32`, as records keep it."""
    return str(dtype).removeprefix("torch.")


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    """Within the block, torch splits an operation over `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
