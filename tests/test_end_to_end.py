"""The main job in a real process: every file is there, and rare classes gain."""

import shlex

import pytest

from marr_pipeline.cache import open_cache
from marr_pipeline.rectify.rectifier_file import load_rectifier


@pytest.fixture(scope="module")
def demo(warm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    done = warm.run("demo", "-o", folder)
    assert done.code == 0, done.err
    return folder, done


def accuracies(done, column):
    """Of softmax, logit adjustment and marr, as the table has it."""
    heading, *rows = done.out.splitlines()[-5:-1]
    place = heading.split().index(column)
    return [row[16:].split()[place].rstrip("+-") for row in rows]


FIGURES = {"curves.png", "curves.csv", "confusion.png", "confusion.csv", "report.html"}


def test_demo_leaves_cache_rectifier_and_figures(demo):
    folder, _ = demo
    assert {path.name for path in folder.iterdir()} == {
        *("digits.h5", "digits.pt", "digits.pt.metrics.jsonl", "marr.safetensors"),
        *FIGURES,
    }
    cached = open_cache(folder / "digits.h5")
    rectifier = load_rectifier(folder / "marr.safetensors")
    assert rectifier.metadata["cache_fingerprint"] == cached.fingerprint


def test_demo_prints_the_table_on_stdout_and_the_rest_on_stderr(demo):
    _, done = demo
    heading, *rows, marks = done.out.splitlines()
    assert marks.startswith("+ better, - worse")
    assert heading.split()[:5] == ["overall", "balanced", "many", "medium", "few"]
    assert [row[:16].strip() for row in rows] == ["softmax", "logit adjustment", "after marr"]
    assert "converged (lbfgs)" in done.err


def test_demo_lifts_the_few_shot_classes_and_says_so(demo):
    before, _, after = accuracies(demo[1], "few")
    assert float(after) > float(before) + 5
    assert f"few-shot classes rise from {before} % to {after} %" in demo[1].err


def test_demo_from_the_embedded_cache_has_no_seed(run, tmp_path):
    done = run("demo", "--cached", "--seed", 1, "-o", tmp_path / "never")
    assert (done.code, done.out) == (2, "")
    assert "--seed: the digits expected, got --cached" in done.error
    assert not (tmp_path / "never").exists()


def test_the_commands_that_demo_shows_do_the_same_again(demo, run, tmp_path):
    folder, done = demo
    shown = next(line for line in done.err.splitlines() if line.startswith("$ pipeline extract"))
    again = shown.removeprefix("$ pipeline ").replace(str(folder), str(tmp_path))
    assert run(*shlex.split(again)).code == 0
    first, second = (open_cache(path / "digits.h5") for path in (folder, tmp_path))
    assert first.fingerprint == second.fingerprint
