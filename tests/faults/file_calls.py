"""The calls of a process that change a file, and a process that ends itself at one of them.

They are what `os` does to files below a folder, each write of a file that Python opened, and what
`torch.save` and safetensors write by themselves. Needs `/proc` (Linux).
"""

import builtins
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch


@dataclass
class Watch:
    """Sees the calls that change a file below a folder, and ends the process at one of them.

    Attributes:
        folder: files elsewhere do not count.
        call: number of the call to die at; -1 for none.
        moment: when of it.
        seen: name of each call so far, and whether there is a half of it.
    """

    folder: Path
    call: int = -1
    moment: str = "before"
    seen: list[tuple[str, bool]] = field(default_factory=list)

    def around(self, name: str, run: Callable[[], Any], half: Callable[[], Any] | None) -> Any:
        is_it = len(self.seen) == self.call
        self.seen.append((name, half is not None))
        if is_it and self.moment == "before":
            die()
        if is_it and self.moment == "half" and half is not None:
            half()
            die()
        try:
            return run()
        finally:
            if is_it:  # a call that fails has an end too
                die()

    def has(self, target: Any) -> bool:
        """Whether a path or an open file lies below the folder."""
        if isinstance(target, int):
            try:
                target = os.readlink(f"/proc/self/fd/{target}")  # noqa: PTH115 # os is what is watched
            except OSError:
                return False
        if not isinstance(target, str | bytes | os.PathLike):
            return False
        return os.path.abspath(os.fsdecode(target)).startswith(f"{self.folder}{os.sep}")  # noqa: PTH100

    def install(self) -> None:
        """Put itself around every such call of this process."""
        for name in ("replace", "rename", "unlink", "remove", "link", "symlink", "truncate"):
            self._wrap(os, name)
        for name in ("mkdir", "rmdir", "utime", "chmod", "ftruncate", "fsync", "fdatasync"):
            self._wrap(os, name)
        for name in ("write", "pwrite"):
            self._wrap(os, name, half=write_half)
        self._wrap(os, "open", counts=changes_file)
        self._wrap(torch, "save", place=1, half=save_half)
        self._wrap(safetensors.torch, "serialize_file", place=1, half=save_half)
        self._watch_open()

    def _wrap(
        self,
        module: Any,
        name: str,
        *,
        place: int = 0,
        half: Callable[..., Any] | None = None,
        counts: Callable[..., bool] = lambda *given: True,
    ) -> None:
        """Watch a function whose argument at `place` is the file; `half` does half of it."""
        real = getattr(module, name)

        def watched(*given: Any, **options: Any) -> Any:
            run = partial(real, *given, **options)
            if not self.has(given[place]) or not counts(*given):
                return run()
            return self.around(name, run, partial(half, run) if half else None)

        setattr(module, name, watched)

    def _watch_open(self) -> None:
        real, watch = io.open, self

        class WatchedFile(io.FileIO):
            def write(self, content: Any) -> Any:
                run = partial(super().write, bytes(content))
                cut = partial(super().write, bytes(content)[: len(bytes(content)) // 2])
                return watch.around("write", run, cut)

            def truncate(self, size: int | None = None) -> Any:
                return watch.around("truncate", partial(super().truncate, size), None)

        def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any):
            if isinstance(file, int) or not set(mode) & set("wax+") or not self.has(file):
                return real(file, mode, buffering, *rest, **more)
            plain = mode.replace("b", "").replace("t", "")
            raw = self.around("open", lambda: WatchedFile(file, plain), None)
            if buffering == 0:
                return raw
            buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, *rest, **more)

        io.open = builtins.open = opened


def write_half(run: "partial[int]") -> None:
    """Of `os.write` or `os.pwrite`: half of the bytes."""
    descriptor, content, *rest = run.args
    run.func(descriptor, bytes(content)[: len(bytes(content)) // 2], *rest)


def save_half(run: "partial[None]") -> None:
    """Of a library that writes a whole file by itself: half of that file."""
    run()
    os.truncate(run.args[1], Path(run.args[1]).stat().st_size // 2)


def changes_file(path: Any, flags: int, *rest: Any) -> bool:
    """Whether `os.open` does more than to open what is there."""
    return bool(flags & os.O_TRUNC or (flags & os.O_CREAT and not os.path.exists(path)))  # noqa: PTH110


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
