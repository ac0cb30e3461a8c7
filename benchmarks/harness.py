"""Rivals side by side, and a record of what was measured on what.

Works take turns (A B C, A B C, ...), so that what else the machine does falls on all of them alike:
believe a ratio of one run before its seconds, and where other work keeps the cores busy that of
processor time. The first turn warms up and is not counted, and a clock is read when the device has
done what it was given.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Event, Thread

import click
import torch
from torch.utils.benchmark import Compare, Measurement, TaskSpec

from marr_pipeline.rectify.rows.kernel import kernel_name

Work = Callable[[], object]

LONG_SECONDS = 20.0
"""A first run that takes longer is the measurement: its warm-up is a small part of it."""


@dataclass(frozen=True)
class Timing:
    """What the counted runs of one work took.

    Attributes:
        seconds: by the clock.
        processor: by the processor, all threads of this process together.
    """

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds of the median run."""
        return median(self.seconds)

    def record(self) -> dict[str, float]:
        """As JSON."""
        return {
            "best": min(self.seconds),
            "median": self.median,
            "processor": min(self.processor),
            "runs": len(self.seconds),
        }


def side_by_side(works: Mapping[str, Work], *, repeat: int, title: str) -> dict[str, Timing]:
    """Every work `repeat` times, in turn, after a turn that is not counted."""
    timings = {name: Timing() for name in works}
    for turn in range(repeat + 1):
        for name, work in works.items():
            timing = timings[name]
            if any(seconds > LONG_SECONDS for seconds in timing.seconds):
                continue
            print(f"{title}: {name}, turn {turn} of {repeat}", file=sys.stderr)
            begin = time.process_time()
            seconds = seconds_of(work)
            if turn > 0 or seconds > LONG_SECONDS:
                timing.seconds.append(seconds)
                timing.processor.append(time.process_time() - begin)
    return timings


def ratio(above: Timing, below: Timing) -> dict[str, float]:
    """One over the other: the fastest runs, the medians, and the least processor time."""
    return {
        "best": min(above.seconds) / min(below.seconds),
        "median": above.median / below.median,
        "processor": min(above.processor) / min(below.processor),
    }


def report(
    name: str,
    measured: Mapping[str, Timing],
    *,
    ratios: Mapping[str, dict[str, float]],
    output: Path | None,
    **facts: object,
) -> None:
    """Print the table and the ratios; write all of it as JSON where a file is named.

    Args:
        name: of the benchmark.
        measured: what `side_by_side` gave.
        ratios: what `ratio` gave, under a name such as `ours / rival`.
        output: the file.
        facts: whatever else a reader needs, JSON values.
    """
    if measured:
        threads = torch.get_num_threads()
        Compare(
            [
                Measurement(
                    1,
                    timing.seconds,
                    TaskSpec("", "", "", name, key, "median", num_threads=threads),
                )
                for key, timing in measured.items()
            ]
        ).print()
    for key, value in ratios.items():
        print(
            f"{key}: {value['best']:.3g} (median {value['median']:.3g}, "
            f"processor {value['processor']:.3g})"
        )
    for key, value in facts.items():
        print(f"{key}: {json.dumps(value)}")
    if output is None:
        return
    document = {
        "benchmark": name,
        "command": _command(),
        "machine": machine(),
        **facts,
        "seconds": {key: timing.record() for key, timing in measured.items()},
        "ratios": dict(ratios),
    }
    output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, str | int | float]:
    """What a time was measured on. A load well above the threads says that other work disturbed."""
    is_cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if is_cuda else platform.machine(),
        "cpu_count": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "torch": str(torch.__version__),
        "passes": kernel_name(),
        "python": platform.python_version(),
    }


def seconds_of(work: Work) -> float:
    """Seconds of one run, until the device has done it."""
    _wait()
    begin = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - begin


@contextmanager
def memory_watch() -> Iterator[dict[str, int]]:
    """`before` and `peak`, bytes that the process holds beside mapped files, on Linux."""
    seen = {"before": _anonymous_bytes()}
    seen["peak"] = seen["before"]
    stop = Event()

    def look() -> None:
        while not stop.wait(0.02):
            seen["peak"] = max(seen["peak"], _anonymous_bytes())

    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def as_written(text: str) -> str:
    """Help whose lines click leaves as they are."""
    return "\n\n".join(f"\b\n{paragraph}" for paragraph in text.strip().split("\n\n"))


repeat_option = click.option("--repeat", default=5, show_default=True, help="Counted turns.")
output_option = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The record, JSON."
)


def _command() -> str:
    """The command line, but for where the record goes."""
    arguments = sys.argv[1:]
    for option in {"-o", "--output"} & {*arguments}:
        place = arguments.index(option)
        del arguments[place : place + 2]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split("RssAnon:")[1].split()[0])
