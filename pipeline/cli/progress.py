"""Progress on stderr: one line that moves on a terminal, a sparse line elsewhere."""

import sys
import time

import click

QUIET_SECONDS = 1.0
"""Work shorter than this shows nothing."""
TERMINAL_SECONDS = 0.2
LOG_SECONDS = 30.0


class ProgressLine:
    """A `pipeline.progress.Progress` for one piece of work.

    Elsewhere than on a terminal a line comes at every tenth of the work, but not within
    `QUIET_SECONDS` of the last one, and at least every `LOG_SECONDS`.
    """

    def __init__(self, label: str, *, unit: str = "") -> None:
        self._label = label
        self._unit = unit
        self._begin = self._last = time.monotonic()
        self._tenths = 0
        self._is_terminal = sys.stderr.isatty()
        self._shown = False

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show `done` of `total`, the rate, the time left and a note."""
        now = time.monotonic()
        finished = done >= total
        if now - self._begin < QUIET_SECONDS or not (self._is_due(now, done, total) or finished):
            return
        if finished and not self._shown and now - self._begin < 2 * QUIET_SECONDS:
            return
        self._last, self._tenths, self._shown = now, 10 * done // max(total, 1), True
        rate = done / (now - self._begin)
        left = (total - done) / rate if rate > 0 else float("inf")
        text = f"{self._label}: {done:,}/{total:,}{self._unit}  {rate:,.0f}/s"
        text += f"  {left:.0f} s left" if not finished else f"  {now - self._begin:.1f} s"
        text += f"  {note}" if note else ""
        if self._is_terminal:
            click.echo("\r\x1b[2K" + text, err=True, nl=finished)
        else:
            click.echo(text, err=True)

    def _is_due(self, now: float, done: int, total: int) -> bool:
        since = now - self._last
        if self._is_terminal:
            return since >= TERMINAL_SECONDS
        new_tenth = 10 * done // max(total, 1) > self._tenths
        return since >= LOG_SECONDS or (new_tenth and since >= QUIET_SECONDS)
