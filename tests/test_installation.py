"""Installed beside a user's own files: one import name that collides with none of theirs."""

import ast
import configparser
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from caches import write_splits

from marr_pipeline.cache import SplitArrays

ROOT = Path(__file__).parent.parent
INSTALLED = ("pipeline", "cache", "plots")
SCRIPT = Path(sys.executable).with_name("pipeline")


def test_the_list_of_packages_is_that_of_the_folders():
    """`packages = find:` does not know which folder has which name."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    folders = {
        source.parent.relative_to(ROOT).parts
        for folder in INSTALLED
        for source in (ROOT / folder).rglob("*.py")
    }
    named = {
        ".".join(("marr_pipeline", *(parts[1:] if parts[0] == "pipeline" else parts)))
        for parts in folders
    }
    assert config["options"]["packages"].split() == sorted(named)


@pytest.mark.parametrize("folder", [*INSTALLED, "tests", "benchmarks", "examples"])
def test_no_code_of_ours_imports_by_a_folder_s_name(folder):
    for source in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            assert not {name.split(".")[0] for name in names} & set(INSTALLED), source


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder: a cache, and modules under the names of our folders."""
    path = tmp_path_factory.mktemp("user")
    for name in INSTALLED:
        (path / f"{name}.py").write_text('raise SystemExit("the user\'s own file was run")\n')
    labels = np.repeat(np.arange(3), [20, 10, 5])
    rng = np.random.default_rng(0)
    rows = {
        split: SplitArrays(
            logits=rng.standard_normal((1, len(labels), 3)).astype(np.float32), labels=labels
        )
        for split in ("train", "test")
    }
    write_splits(path / "c.h5", rows, class_counts=np.bincount(labels))
    return path


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        ([SCRIPT, "--help"], {}),
        ([SCRIPT, "--help"], {"PYTHONPATH": "."}),
        ([sys.executable, "-m", "marr_pipeline", "inspect", "c.h5"], {}),
        ([sys.executable, "-m", "marr_pipeline", "rectify", "c.h5"], {"PYTHONPATH": "."}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "".join(value),
)
def test_a_user_s_own_cache_plots_and_pipeline_are_not_ours(folder, command, variables):
    if command[0] == SCRIPT and not SCRIPT.exists():
        pytest.skip("the package is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "the user's own file" not in done.stdout + done.stderr
