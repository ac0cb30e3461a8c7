"""Fixtures of the whole suite: the command line in this process, and a small trained cache."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import settings
from warm import WarmProcess

from marr_pipeline.cli import main

# Hypothesis' deadline of 200 ms an example is missed on a busy machine, not by slow code.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@dataclass(frozen=True)
class Run:
    """What a command left: exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)

    @property
    def error(self):
        """The one line that an error is."""
        lines = [line for line in self.err.splitlines() if line.startswith(("error:", "Error:"))]
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def run(capsys):
    """Run a command in this process, through the one error boundary."""

    def run_command(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Run(stop.value.code, captured.out, captured.err)

    return run_command


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """A loaded process, which starts real ones at once."""
    process = WarmProcess(tmp_path_factory.mktemp("logs"))
    yield process
    process.close()


@pytest.fixture
def nothing_added():
    """What a test adds to the program, it takes away again."""
    from marr_pipeline.losses import LOSSES
    from marr_pipeline.rectify.methods import METHODS
    from marr_pipeline.rectify.settings import OWN_METHODS

    kept = [(LOSSES, dict(LOSSES)), (METHODS, dict(METHODS)), (OWN_METHODS, set(OWN_METHODS))]
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)


@pytest.fixture(scope="session")
def digits_cache(tmp_path_factory):
    """A cache of a briefly trained network on digits-lt, with its checkpoint beside it."""
    path = tmp_path_factory.mktemp("digits") / "digits.h5"
    options = ["--iterations", "60", "--batch-size", "64", "--views", "2", "-o", str(path)]
    with pytest.raises(SystemExit) as stop:
        main(["extract", "--dataset", "digits-lt", *options])
    assert stop.value.code == 0
    return path


@pytest.fixture(scope="session")
def digits_rectifier(digits_cache):
    path = digits_cache.with_name("marr.safetensors")
    with pytest.raises(SystemExit) as stop:
        main(["rectify", str(digits_cache), "-o", str(path)])
    assert stop.value.code == 0
    return path
