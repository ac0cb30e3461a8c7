"""A thin sample of the kills; `kill_everywhere.py` makes all of them in some minutes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_everywhere.py")
FAULTS = ("wrong", "not_finished", "different", "not_reached")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells files by /proc")
def test_no_kill_leaves_a_wrong_file_or_one_that_cannot_be_gone_on_with():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--every", "37"], capture_output=True, text=True, timeout=600
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [command["command"] for command in found] == ["extract", "train", "rectify", "import"]
    for command in found:
        assert command["kills"] > 0
        assert [command[fault] for fault in FAULTS] == [[], [], [], []]
    assert done.returncode == 0, done.stderr
