"""SIGTERM to the whole process group, as `timeout` and SLURM send it, with workers at work."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from warm import wait_until

from marr_pipeline.backbone import build_backbone

COUNTS = (48, 16)
DATA = ("--dataset", "folder", "--image-size", 72, "--backbone", "resnet8", "--workers", 2)


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label, count in enumerate(COUNTS):
            folder = tmp_path / "images" / split / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def network(tmp_path):
    """A checkpoint of another program, which `extract` needs no training for."""
    model = build_backbone("resnet8", len(COUNTS), in_channels=3, seed=0)
    torch.save(model.state_dict(), tmp_path / "network.pth")
    return tmp_path / "network.pth"


def test_a_group_signal_is_an_interruption(root, network, tmp_path):
    train = ("train", "--iterations", 100_000, "--batch-size", 8, "-o", tmp_path / "a.pt")
    log = tmp_path / "a.pt.metrics.jsonl"
    last = stopped_as_group(train, root, at_work=lambda: num_lines(log) >= 1)
    assert last.startswith(f"interrupted: {tmp_path / 'a.pt'} holds step")

    extract = ("extract", "--checkpoint", network, "--views", 10_000, "-o", tmp_path / "a.h5")
    log = tmp_path / "a.h5.journal"
    last = stopped_as_group(extract, root, at_work=lambda: num_lines(log) >= 2)
    assert "rows are kept, the same command goes on from there" in last


def num_lines(log):
    return log.read_bytes().count(b"\n") if log.exists() else 0


def stopped_as_group(arguments, root, *, at_work):
    """Start a command, signal its group once it is at work, and give its last line."""
    command = (sys.executable, "-m", "marr_pipeline", *arguments, *DATA, "--data-root", root)
    process = subprocess.Popen(
        [str(part) for part in command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_until(lambda: at_work() or process.poll() is not None, seconds=120)
        os.killpg(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "give fewer --workers" not in err
    return err.splitlines()[-1]
