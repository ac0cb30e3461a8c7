"""Where there are no calls of POSIX: nothing at import needs one, and every command has a way."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from marr_pipeline.cache import open_cache

WITHOUT_POSIX = Path(__file__).with_name("without_posix.py")
COMMANDS = """
demo --cached -o demo
import --train train.npz --test test.npz -o c.h5
import --train train.npz --test test.npz -o c.h5 --overwrite
rectify c.h5 -o marr.safetensors
rectify c.h5 -o marr.safetensors --gamma 0.5
evaluate c.h5 marr.safetensors -o table.csv
apply c.h5 marr.safetensors -o rows.npz
verify c.h5
extract --dataset digits-lt --iterations 4 --views 1 -o d.h5
extract --dataset digits-lt --iterations 4 --views 1 -o d.h5
"""


def test_every_kind_of_command_runs_without_posix(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [24, 12, 6])
    for split in ("train", "test"):
        logits = rng.standard_normal((len(labels), 3)).astype(np.float32)
        np.savez(tmp_path / f"{split}.npz", logits=logits, labels=labels)
    done = subprocess.run(
        [sys.executable, WITHOUT_POSIX],
        input=COMMANDS.strip(),
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        text=True,
        encoding="cp1252",
        cwd=tmp_path,
    )
    codes = [line for line in done.stdout.splitlines() if line.startswith("exit code")]
    assert codes == [f"exit code 0: {line}" for line in COMMANDS.strip().splitlines()], done.stderr
    assert open_cache(tmp_path / "d.h5").split("test").num_samples == 400
    assert not list(tmp_path.glob(".*")) + list(tmp_path.glob("*.partial*"))
