"""A thin sample of the faults; `hostile_outputs.py` goes through every command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("hostile_outputs.py")
KINDS = 7


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
def test_no_output_costs_the_user_anything():
    done = subprocess.run(
        [sys.executable, SCRIPT, "rectify", "import"], capture_output=True, text=True, timeout=600
    )
    found = [kind for line in done.stdout.splitlines() for kind in json.loads(line).items()]
    assert [(name, each["failed"]) for name, each in found] == [(name, []) for name, _ in found]
    assert len(found) == KINDS, done.stderr
    assert all(each["tried"] > 0 for _, each in found)
    assert done.returncode == 0
