"""A thin sample of the faults; `hostile_outputs.py` goes through every command."""

import json
import os
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("hostile_outputs.py")
KINDS = 7


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
def test_no_output_costs_the_user_anything(warm):
    done = warm.run("rectify", "import", script=SCRIPT)
    found = [kind for line in done.out.splitlines() for kind in json.loads(line).items()]
    assert [(name, each["failed"]) for name, each in found] == [(name, []) for name, _ in found]
    assert len(found) == KINDS, done.err
    assert all(each["tried"] > 0 for _, each in found)
    assert done.code == 0
