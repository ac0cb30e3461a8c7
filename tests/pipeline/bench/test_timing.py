import sys

import pytest
import torch

from pipeline.bench.memory import MemoryWatch, fits_in_memory
from pipeline.bench.timing import LONG_SECONDS, Stopwatch, repeated, timed

CPU = torch.device("cpu")


def test_the_first_run_is_not_counted(clock):
    durations = iter([5.0, 3.0, 1.0, 2.0])
    timing = timed(lambda: clock.wait(next(durations)), repeat=3, device=CPU)
    assert (timing.seconds, timing.median_seconds, timing.repeats) == (1.0, 2.0, 3)


@pytest.mark.parametrize(
    ("seconds", "worth"), [(LONG_SECONDS + 1, True), (1.0, False)], ids=["long", "not worth it"]
)
def test_one_run_may_have_to_do(seconds, worth):
    runs = []

    def run():
        runs.append(seconds)
        return seconds, "result"

    timing = repeated(run, repeat=3, is_worth=lambda result: worth)
    assert (timing.seconds, timing.repeats, timing.result) == (seconds, 1, "result")
    assert len(runs) == 1


def test_paused_work_is_not_seen(clock):
    watch = Stopwatch(CPU)
    clock.wait(1.0)
    assert watch.paused(lambda: clock.wait(10.0) or "done") == "done"
    clock.wait(0.5)
    assert watch.seconds == 1.5


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_piece_of_work_is_seen():
    size = 64 * 2**20
    with MemoryWatch() as watch:
        held = torch.ones(size, dtype=torch.uint8)
    assert held.nbytes == size
    use = watch.use
    assert use.anonymous_peak - use.anonymous_before > 0.9 * size
    assert use.mapped_peak > 0


def test_memory_has_an_end():
    assert fits_in_memory(1, CPU)
    assert not fits_in_memory(2**60, CPU)
