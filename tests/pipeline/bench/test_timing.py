import sys

import pytest
import torch

from pipeline.bench.memory import MemoryWatch, fits_in_memory
from pipeline.bench.timing import LONG_SECONDS, Stopwatch, interleaved, repeated, timed

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


def test_interleaved_works_take_turns_and_the_first_turn_is_not_counted(clock):
    durations = {"a": iter([9.0, 1.0, 3.0]), "b": iter([9.0, 5.0, 4.0])}
    order = []

    def work(name):
        def run(watch):
            order.append(name)
            clock.wait(next(durations[name]))
            return len(order)

        return run

    timings = interleaved({name: work(name) for name in durations}, repeat=2, device=CPU)
    assert order == ["a", "b"] * 3
    found = {name: (t.seconds, t.median_seconds, t.repeats) for name, t in timings.items()}
    assert found == {"a": (1.0, 2.0, 2), "b": (4.0, 4.5, 2)}
    assert {name: timing.result for name, timing in timings.items()} == {"a": 5, "b": 6}


def test_an_interleaved_work_may_pause_its_clock(clock):
    def work(watch):
        clock.wait(1.0)
        watch.paused(lambda: clock.wait(10.0))

    assert interleaved({"work": work}, repeat=1, device=CPU)["work"].seconds == 1.0


def test_paused_work_is_not_seen(clock):
    watch = Stopwatch(CPU)
    clock.wait(1.0)
    assert watch.paused(lambda: clock.wait(10.0) or "done") == "done"
    clock.wait(0.5)
    assert watch.seconds == 1.5


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_piece_of_work_is_seen(fresh_memory):
    size = 64 * 2**20
    with MemoryWatch() as watch:
        held = fresh_memory(size)
    assert len(held) == size
    use = watch.use
    assert use.anonymous_peak - use.anonymous_before > 0.9 * size
    assert use.mapped_peak > 0


def test_memory_has_an_end():
    assert fits_in_memory(1, CPU)
    assert not fits_in_memory(2**60, CPU)
