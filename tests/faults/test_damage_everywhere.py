"""A thin sample of damaged caches; `damage_everywhere.py` makes thousands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("damage_everywhere.py")
KINDS = ["bits", "numbers", "unsealed"]
FAULTS = ("wrong", "not_the_contract", "hung", "unseen")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs commands in forked processes")
def test_no_damage_goes_into_a_result():
    command = [sys.executable, SCRIPT, *KINDS, "--caches", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [kind["kind"] for kind in found] == KINDS
    for kind in found:
        assert kind["runs"] == 10
        assert [kind[fault] for fault in FAULTS] == [[], [], [], []]
    assert done.returncode == 0, done.stderr
