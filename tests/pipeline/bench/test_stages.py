import sys

import pytest

from pipeline.bench.stages import run_stage


def test_a_stage_has_its_result_and_its_speed(clock):
    def work(watch):
        clock.wait(2.0)
        watch.paused(lambda: clock.wait(5.0))
        return "done"

    result, stage = run_stage(work, num_bytes=600)
    assert result == "done"
    assert (stage.seconds, stage.bytes_per_second) == (2.0, 300.0)
    assert stage.document()["bytes_per_second"] == 300.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_stage_has_its_memory(fresh_memory):
    size = 64 * 2**20
    held, stage = run_stage(lambda watch: fresh_memory(size), num_bytes=size)
    assert len(held) == size
    assert stage.memory.anonymous_peak - stage.memory.anonymous_before > 0.9 * size
