"""How much memory a piece of work takes beside the page cache, on Linux.

Anonymous memory (`RssAnon`) is what a process holds for itself; pages of a mapped file
(`RssFile`) the kernel takes back whenever it needs them.
"""

import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

STATUS = Path("/proc/self/status")
INTERVAL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Bytes; None where the system does not tell.

    Attributes:
        anonymous_before: of the process when the work began, its data in memory included.
        anonymous_peak: the largest seen meanwhile.
        mapped_peak: pages of mapped files, the largest seen meanwhile.
    """

    anonymous_before: int | None
    anonymous_peak: int | None
    mapped_peak: int | None

    def document(self) -> dict[str, int | None]:
        """The record as JSON."""
        return asdict(self)


class MemoryWatch:
    """Looks at the process every `INTERVAL_SECONDS` while its `with` block runs."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._anonymous: list[int] = []
        self._mapped: list[int] = []

    def __enter__(self) -> Self:
        self._record()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._record()

    @property
    def use(self) -> MemoryUse:
        """What was seen."""
        return MemoryUse(
            anonymous_before=self._anonymous[0] if self._anonymous else None,
            anonymous_peak=max(self._anonymous, default=None),
            mapped_peak=max(self._mapped, default=None),
        )

    def _look(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            self._record()

    def _record(self) -> None:
        if not STATUS.is_file():
            return
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        for name, values in (("RssAnon", self._anonymous), ("RssFile", self._mapped)):
            if name in fields:
                values.append(1024 * int(fields[name].split()[0]))


def fits_in_memory(num_bytes: int, device: torch.device) -> bool:
    """Whether so much may be asked for: half of the machine's memory, or of the device's."""
    if device.type == "cuda":
        total = torch.cuda.mem_get_info(device)[1]
    else:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return num_bytes <= total // 2
