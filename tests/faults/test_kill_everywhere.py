"""A thin sample of the kills; `kill_everywhere.py` makes all of them in some minutes."""

import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_everywhere.py")
FAULTS = ("wrong", "not_finished", "different", "not_reached")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells files by /proc")
def test_no_kill_leaves_a_wrong_file_or_one_that_cannot_be_gone_on_with(warm):
    done = warm.run("--every", 61, script=SCRIPT)
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [command["command"] for command in found] == ["extract", "train", "rectify", "import"]
    for command in found:
        assert command["kills"] > 0
        assert [command[fault] for fault in FAULTS] == [[], [], [], []]
    assert done.code == 0, done.err
