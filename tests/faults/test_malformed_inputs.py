"""A few damaged files of each kind; `malformed_inputs.py` makes as many as it is asked for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("malformed_inputs.py")


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="bounds memory as Linux counts it"
)
def test_a_damaged_input_is_one_line_or_does_no_harm(warm):
    pytest.importorskip("pyarrow")
    done = warm.run("--cases", 1, script=SCRIPT)
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [fault for kind in found for fault in kind["faults"]] == []
    assert len(found) > 20, done.err
    refused = sum(kind["codes"].get(code, 0) for kind in found for code in ("2", "3"))
    assert refused > sum(kind["cases"] for kind in found) / 2
    assert done.code == 0, done.err


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="bounds memory as Linux does")
def test_want_of_memory_is_one_line(digits_cache):
    limited = "import resource as r; r.setrlimit(r.RLIMIT_AS, (2 << 28, 2 << 28)); "
    run = f"from marr_pipeline.cli import main; main(['rectify', {str(digits_cache)!r}])"
    done = subprocess.run([sys.executable, "-c", limited + run], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: memory: room for all of it expected, got none left (")
    assert done.stderr.count("\n") == 1
