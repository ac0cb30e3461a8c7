"""How long work tells how far it is: to whom, and as what on stderr.

A library function takes a `Progress` and shows nothing by itself; a command gives it a
`ProgressLine`, one line that moves on a terminal and sparse lines elsewhere. How loud a command is,
its `volume`, is decided here alone.
"""

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Protocol

QUIET_SECONDS = 1.0
"""Work shorter than this shows nothing."""
TERMINAL_SECONDS = 0.2
LOG_SECONDS = 30.0
CLEAR_LINE = "\r\x1b[2K"
"""To a terminal, before a line that takes the place of the last one."""
ORDERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but the tab and the end of a line, and what turns text round."""


class Volume(IntEnum):
    """How much stderr is told.

    QUIET: warnings and errors; NORMAL: also progress and hints; VERBOSE: also what every option is
    and how long each step took.
    """

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class _Loudness:
    level = Volume.NORMAL


@contextmanager
def volume(level: Volume | None) -> Iterator[None]:
    """Within the block so much is told; None changes nothing."""
    before = _Loudness.level
    _Loudness.level = before if level is None else level
    try:
        yield
    finally:
        _Loudness.level = before


def printable(text: str) -> str:
    """The text, every order in it escaped."""
    return ORDERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """The text, with the ends of lines that a name of a file or a class may have escaped."""
    return text.replace("\n", r"\n")


def say(message: str) -> None:
    """A line on stderr; when quiet, none but a warning or an error."""
    if _Loudness.level > Volume.QUIET or message.startswith(("warning:", "error:")):
        print(one_line(message), file=sys.stderr, flush=True)


def detail(message: str) -> None:
    """A line on stderr for those who want to know all."""
    if _Loudness.level >= Volume.VERBOSE:
        print(one_line(message), file=sys.stderr, flush=True)


class Progress(Protocol):
    """Called from time to time with the work done so far, and once at the end."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report `done` of `total` units; `note` is a short reading such as `loss 0.73`.

        A total of 0 means that none is known until the end, whose call has `done == total`.
        """


def silent(done: int, total: int, note: str = "") -> None:
    """The default of every library function: nothing is shown."""


class ProgressLine:
    """A `Progress` for one piece of work, or for several one after the other.

    Elsewhere than on a terminal a line comes at every tenth of the work, but not within
    `QUIET_SECONDS` of the last one, and at least every `LOG_SECONDS`. Rates count from the first
    call, so that a resumed run shows its own speed.
    """

    def __init__(self, label: str, *, unit: str = "") -> None:
        self._label = label
        self._unit = unit
        self._is_terminal = sys.stderr.isatty()
        self._begin = self._last = 0.0
        self._first = self._done = sys.maxsize
        self._tenths = 0
        self._is_shown = False

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show `done` of `total` (where known), the rate, the time left and a note."""
        now = time.monotonic()
        if done < self._done:  # the first call, or the next piece of work
            self._begin = self._last = now
            self._first, self._tenths, self._is_shown = done, 10 * done // max(total, 1), False
        self._done = done
        is_finished = done >= total > 0
        if is_finished:
            is_due = self._is_shown or _Loudness.level >= Volume.VERBOSE
        else:
            is_due = self._is_due(now, done, total)
        if _Loudness.level == Volume.QUIET or not is_due:
            return
        self._last, self._tenths, self._is_shown = now, 10 * done // max(total, 1), True
        seconds = now - self._begin
        rate = (done - self._first) / seconds if seconds else 0.0
        text = f"{self._label}: {done:,}{f'/{total:,}' if total else ''}{self._unit}"
        if total and seconds:
            text += f"  {rate:,.0f}/s" if rate >= 10 else f"  {rate:.2g}/s"
        if is_finished or not total:
            text += f"  {seconds:.1f} s"
        elif rate > 0:
            text += f"  {duration((total - done) / rate)} left"
        self._show(f"{text}  {note}" if note else text, ends=is_finished)

    def _is_due(self, now: float, done: int, total: int) -> bool:
        since = now - self._last
        if self._is_terminal:
            return now - self._begin >= QUIET_SECONDS and since >= TERMINAL_SECONDS
        is_new_tenth = total > 0 and 10 * done // max(total, 1) > self._tenths
        return since >= LOG_SECONDS or (is_new_tenth and since >= QUIET_SECONDS)

    def _show(self, text: str, *, ends: bool) -> None:
        if not self._is_terminal:
            print(text, file=sys.stderr, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        line = CLEAR_LINE + text[:width]
        print(line, file=sys.stderr, end="\n" if ends else "", flush=True)


class Forecast:
    """Says once how long a piece of work will take, from the speed of its first two blocks.

    The first one warms up and counts only where there is no second.

    Args:
        what: is done, for the line.
        num_rows: of all blocks.
        say: takes the line.
    """

    def __init__(self, what: str, *, num_rows: int, say: Callable[[str], None]) -> None:
        self._what = what
        self._num_rows = num_rows
        self._say = say
        self._moments = [(0, time.perf_counter())]

    def __call__(self, done: int) -> None:
        """To be called after every block with the rows done so far."""
        if len(self._moments) < 3:
            self._moments.append((done, time.perf_counter()))
            if len(self._moments) == 3 or done == self._num_rows:
                (before, begin), (after, end) = self._moments[-2:]
                seconds = (end - begin) / (after - before) * self._num_rows
                self._say(f"{self._what}, about {duration(seconds)}")


def duration(seconds: float) -> str:
    """Such as 40 s, 12 min, 9 h 44 min or 2 d 4 h; rounded."""
    if round(seconds) < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours = round(minutes / 60)
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24:,} d {hours % 24} h"
