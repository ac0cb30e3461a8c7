"""The main job in a real process: every file is there, and rare classes gain."""

import subprocess
import sys

import pytest

from marr_pipeline.cache import open_cache
from marr_pipeline.rectify.rectifier_file import load_rectifier


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "marr_pipeline", "demo", "-o", str(folder)]
    return folder, subprocess.run(command, capture_output=True, text=True, check=True)


def test_demo_leaves_cache_rectifier_and_figures(demo):
    folder, _ = demo
    assert {path.name for path in folder.iterdir()} == {
        *("digits.h5", "digits.pt", "digits.pt.metrics.jsonl", "marr.safetensors"),
        *("curves.png", "curves.csv", "confusion.png", "confusion.csv"),
    }
    cached = open_cache(folder / "digits.h5")
    rectifier = load_rectifier(folder / "marr.safetensors")
    assert rectifier.metadata["cache_fingerprint"] == cached.fingerprint


def test_demo_prints_the_table_on_stdout_and_the_rest_on_stderr(demo):
    _, done = demo
    heading, *rows = done.stdout.splitlines()
    assert heading.split()[:4] == ["overall", "many", "medium", "few"]
    assert [row[:16].strip() for row in rows] == ["softmax", "logit adjustment", "after marr"]
    assert "converged (lbfgs)" in done.stderr


def test_demo_lifts_the_few_shot_classes(demo):
    rows = {row[:16].strip(): row[16:].split() for row in demo[1].stdout.splitlines()[1:]}
    few = {name: float(cells[3]) for name, cells in rows.items()}
    assert few["after marr"] > few["softmax"]


def test_two_demos_are_alike(demo, run, tmp_path):
    folder, _ = demo
    assert run("demo", "-o", tmp_path / "again").code == 0
    first, second = (open_cache(path / "digits.h5") for path in (folder, tmp_path / "again"))
    assert first.fingerprint == second.fingerprint
