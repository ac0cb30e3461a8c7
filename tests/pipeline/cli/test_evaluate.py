"""`pipeline evaluate`: each class, and what numbered checks say."""

import csv

import numpy as np
import pytest
from caches import write_splits

from marr_pipeline.cache import SplitArrays

COUNTS = np.array([300, 60, 12, 0])
NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture(scope="module")
def skewed(tmp_path_factory):
    """A cache whose test split is as skewed as its training, and lacks a class."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, sizes in (("train", COUNTS), ("test", COUNTS // 2)):
        labels = np.repeat(np.arange(4), sizes)
        logits = rng.normal(size=(len(labels), 4)) + 1.5 * np.eye(4)[labels]
        logits += np.log(np.maximum(COUNTS, 0.5))
        arrays[split] = SplitArrays(logits=logits[None].astype(np.float32), labels=labels)
    path = tmp_path_factory.mktemp("skewed") / "c.h5"
    write_splits(path, arrays, class_counts=COUNTS, class_names=NAMES)
    return path


def test_every_class_is_shown_and_written(run, skewed, tmp_path):
    run("rectify", skewed, "-o", tmp_path / "train.safetensors")
    files = (skewed, tmp_path / "train.safetensors")
    done = run("evaluate", *files, "--per-class", "-o", tmp_path / "classes.csv")
    assert done.code == 0, done.err
    metrics, classes = done.out.split("\n\n")
    assert "+ better, - worse than softmax" in metrics
    assert [line.split()[0] for line in classes.splitlines()[1:5]] == NAMES
    rows = list(csv.DictReader((tmp_path / "classes.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == NAMES
    assert [row["samples"] for row in rows] == ["150", "30", "6", "0"]
    document = run("evaluate", *files, "--json").document
    assert document["classes"] == {
        "names": NAMES,
        "class_counts": COUNTS.tolist(),
        "samples": (COUNTS // 2).tolist(),
        "groups": ["many", "medium", "few", "few"],
    }
    for row, softmax, fitted in zip(
        rows, *(document["methods"][key]["per_class"] for key in ("softmax", "train")), strict=True
    ):
        assert row["train_accuracy"] == ("" if fitted is None else str(fitted))
        if fitted is not None:
            assert float(row["train_vs_softmax"]) == pytest.approx(fitted - softmax)
    moved = ("--target-prior", "uniform", "-o", tmp_path / "moved.csv")
    assert "share" in run("evaluate", *files, "--per-class", *moved).out
    rows = csv.DictReader((tmp_path / "moved.csv").read_text().splitlines())
    assert [row["target_prior"] for row in rows] == ["0.25"] * 4
    assert run("evaluate", *files, "-o", tmp_path / "metrics.csv").code == 0
    written = csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines())
    assert [row["name"] for row in written] == ["softmax", "logit-adjustment", "train"]
    assert run("evaluate", *files, "-o", tmp_path / "metrics.txt").code == 2


def test_a_skewed_test_split_is_explained_with_its_numbers(run, skewed, tmp_path):
    done = run("rectify", skewed, "-o", tmp_path / "fit.safetensors", "--json")
    (finding,) = (one for one in done.document["checks"] if one["code"] == "R06")
    assert set(finding) == {"code", "sentence", "remedy"}
    metrics = done.document["metrics"]
    fallen = 100 * (metrics["after"]["overall"] - metrics["before"]["overall"])
    assert f"Against softmax marr has {fallen:+.1f} points overall" in finding["sentence"]
    assert f"R06: {finding['sentence']} {finding['remedy']}" in done.err.splitlines()
    for options in (["--target-prior", "train"], ["--mute", "R07", "--mute", "R01,R06"]):
        assert "R06" not in run("rectify", skewed, *options).err
    assert "R06" in run("evaluate", skewed, tmp_path / "fit.safetensors").err
    assert "R06" not in run("evaluate", skewed, "--class-distribution", "uniform").err


def test_muting_is_configured_and_refuses_what_is_no_check(run, skewed, tmp_path):
    for said in ('"R06,R01"', '["R06", "R01,R07"]'):
        (tmp_path / "c.toml").write_text(f"mute = {said}\n")
        done = run("evaluate", skewed, "--config", tmp_path / "c.toml")
        assert done.code == 0, done.err
        assert "R06" not in done.err
        assert "R01" not in done.err
    everything = [f"R{number:02}" for number in range(1, 18)]
    assert (
        run("evaluate", skewed, "--mute", ",".join(everything), "--json").document["checks"] == []
    )
    for command in ("rectify", "evaluate", "compare"):
        refused = run(command, skewed, "--mute", "R06,R99")
        assert refused.code == 2
        assert "'R99'" in refused.error
