"""When a training reports and when it saves."""

import time
from dataclasses import dataclass


@dataclass
class Clock:
    """When it is time to report and to save.

    Attributes:
        report_seconds: least time between two reports.
        save_seconds: least time between two saved states.
    """

    report_seconds: float
    save_seconds: float

    def __post_init__(self) -> None:
        self.started = self._reported = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def is_due(self) -> bool:
        """Whether to report or to save."""
        now = time.monotonic()
        return now >= self._reported + self.report_seconds or self.save_is_due(now)

    def save_is_due(self, now: float | None = None) -> bool:
        """Whether to save."""
        return (time.monotonic() if now is None else now) >= self._saved + self.save_seconds

    def reported(self) -> None:
        """To be called after a report."""
        self._reported = time.monotonic()

    def saved(self) -> None:
        """To be called after saving."""
        self._saved = time.monotonic()
