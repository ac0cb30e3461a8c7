"""A thin sample of damaged caches; `damage_everywhere.py` makes thousands."""

import json
import os
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("damage_everywhere.py")
KINDS = ["bits", "numbers", "unsealed"]
FAULTS = ("wrong", "not_the_contract", "hung", "unseen")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs commands in forked processes")
def test_no_damage_goes_into_a_result(warm):
    done = warm.run(*KINDS, "--caches", 2, script=SCRIPT)
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [kind["kind"] for kind in found] == KINDS
    for kind in found:
        assert kind["runs"] == 10
        assert [kind[fault] for fault in FAULTS] == [[], [], [], []]
    assert done.code == 0, done.err
