"""`apply --sets` and `evaluate --sets`: what is written, said and refused."""

import csv

import numpy as np
import pytest

from marr_pipeline import MarginRectifier, SetSettings, apply
from marr_pipeline.cache import open_cache

K = 4
NAMES = ["cat", "dog;big", "a\\b", "owl"]
SHARES = np.array([0.6, 0.3, 0.08, 0.02])


def rows_of(num_rows, rng, shares=SHARES):
    labels = rng.choice(K, num_rows, p=shares)
    logits = rng.normal(size=(num_rows, K)) + 1.5 * np.eye(K)[labels] + np.log(SHARES)
    return {"logits": 2 * logits, "labels": labels}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Splits of one long tail, new rows of it, and balanced ones."""
    folder, rng = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)
    for name, count in {"train": 2000, "tune": 600, "test": 1500, "new": 40}.items():
        np.savez(folder / f"{name}.npz", **rows_of(count, rng), class_names=NAMES)
    balanced = rows_of(1500, rng, np.full(K, 1 / K))
    np.savez(folder / "balanced.npz", **balanced, class_names=NAMES)
    return folder


@pytest.fixture
def made(files, run):
    """A cache with a split tune, and its rectifier."""
    cache, rectifier = files / "cache.h5", files / "marr.safetensors"
    if not rectifier.exists():
        splits = [f"--{name}={files / f'{name}.npz'}" for name in ("train", "tune", "test")]
        assert run("import", *splits, "-o", cache).code == 0
        assert run("rectify", cache, "-o", rectifier).code == 0
    return cache, rectifier


def test_a_matrix_and_what_it_promises(run, made, tmp_path):
    cache, rectifier = made
    output = tmp_path / "out.npz"
    applied = run("apply", cache, rectifier, "--sets", 0.9, "-o", output)
    assert applied.code == 0
    assert "For rows drawn as the 600 of" in applied.err
    assert "sets hold the label with a probability of at least 0.9;" in applied.err
    with np.load(output) as found:
        members, labels = found["sets"], found["labels"]
    assert members.shape == (1500, K)
    assert members.dtype == bool
    covered = members[np.arange(1500), labels]
    assert covered.mean() == pytest.approx(0.9, abs=0.06)
    again = apply(cache, rectifier, sets=SetSettings(coverage=0.9))
    assert np.array_equal(again.arrays["sets"], members)
    other = apply(cache, rectifier, sets=SetSettings(coverage=0.5, score="softmax"))
    assert other.arrays["sets"].sum() < members.sum()


@pytest.mark.parametrize(
    ("split", "said"),
    [("tune", "decide what is in a set"), ("train", "the network was trained on")],
)
def test_rows_that_are_not_new_are_told(run, made, tmp_path, split, said):
    options = ["--split", split, "--sets", 0.9, "-o", tmp_path / "out.npz"]
    done = run("apply", *made, *options)
    assert done.code == 0
    assert f"Those of {split} are others: it is them that {said}." in done.err


def test_columns_of_a_table(run, made, files, tmp_path):
    cache, rectifier = made
    outputs = [tmp_path / f"out.{suffix}" for suffix in ("npz", "csv")]
    for output in outputs:
        options = ["--sets", 0.9, "--calibration", cache, "-o", output]
        assert run("apply", files / "new.npz", rectifier, *options).code == 0
    with np.load(outputs[0]) as found:
        members = found["sets"]
    with outputs[1].open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    written = ["cat", r"dog\;big", r"a\\b", "owl"]
    for row, own in zip(table, members, strict=True):
        assert row["set"] == ";".join(np.array(written)[own])
        assert int(row["set_size"]) == own.sum()


def test_coverage_of_each_method(run, made):
    cache, rectifier = made
    done = run("evaluate", cache, rectifier, "--sets", 0.9, "--score", "prevalence", "--json")
    document = done.document["sets"]
    assert document["score"] == "prevalence"
    assert document["coverage"] == 0.9
    assert document["interpolate"] == 0
    assert list(document["methods"]) == ["softmax", "logit-adjustment", "marr"]
    for found in document["methods"].values():
        assert found["coverage"] == pytest.approx(0.9, abs=0.06)
        assert found["macro"] == pytest.approx(np.mean(found["per_class"]))
        assert 1 <= found["mean_size"] <= K
        assert found["many"] == pytest.approx(np.mean(found["per_class"][:3]))
        assert found["few"] is None
    text = run("evaluate", cache, rectifier, "--sets", 0.9).out
    assert "covered     macro      many" in text
    assert "for others nothing is promised." in " ".join(text.split())
    assert "other shares" not in text


def test_a_test_split_of_other_shares_is_told(run, files, made, tmp_path):
    splits = [f"--{name}={files / f'{name}.npz'}" for name in ("train", "tune")]
    other = tmp_path / "other.h5"
    assert run("import", *splits, "--test", files / "balanced.npz", "-o", other).code == 0
    done = run("evaluate", other, "--sets", 0.9, "--interpolate", 1, "--json")
    promise = done.document["sets"]["promise"]
    assert "at least 0.9 in every class;" in promise
    assert "Those of test are others: their classes come in other shares." in promise
    assert "of 4 classes have fewer than the 9" in done.err
    rare = done.document["sets"]["methods"]["softmax"]["per_class"]
    assert min(rare) > 0.8
    half = run("evaluate", other, "--sets", 0.9, "--interpolate", 0.5, "--json")
    assert "at least 0.8;" in half.document["sets"]["promise"]


def test_the_estimator_makes_the_same_sets(made):
    cache, rectifier = made
    tune, test = (open_cache(cache).split(name) for name in ("tune", "test"))
    fitted = MarginRectifier.load(rectifier)
    fitted.calibrate_sets(tune.logits[0], fitted.classes_[tune.labels])  # labels are names
    expected = apply(cache, rectifier, sets=SetSettings()).arrays["sets"]
    assert np.array_equal(fitted.predict_sets(test.logits[0]), expected)


REFUSED = {
    "no tune": (
        ["evaluate", "{bare}", "--sets", 0.9],
        3,
        "a split tune expected with sets, whose rows decide what is in them, got train, ",
    ),
    "no tune to apply": (
        ["apply", "{bare}", "{marr}", "--any-head", "--sets", 0.9, "-o", "{out}"],
        3,
        "a split tune expected with sets",
    ),
    "a file of rows alone": (
        ["apply", "{new}", "{marr}", "--sets", 0.9, "-o", "{out}"],
        2,
        "give --calibration CACHE",
    ),
    "calibration alone": (
        ["apply", "{new}", "{marr}", "--calibration", "{cache}", "-o", "{out}"],
        2,
        "calibration: sets expected with it",
    ),
    "another head": (
        ["apply", "{new}", "{marr}", "--sets", 0.9, "--calibration", "{digits}", "-o", "{out}"],
        3,
        "a rectifier of 10 classes expected",
    ),
    "a score alone": (["evaluate", "{cache}", "--score", "softmax"], 2, "--score: --sets expected"),
    "a weight alone": (
        ["apply", "{cache}", "{marr}", "--interpolate", 1, "-o", "{out}"],
        2,
        "--interpolate: --sets expected",
    ),
    "no coverage": (["evaluate", "{cache}", "--sets", 1], 2, "0<x<1"),
    "the split that calibrates": (
        ["evaluate", "{cache}", "--split", "tune", "--sets", 0.9],
        5,
        "another split than tune expected",
    ),
    "tune is test": (["evaluate", "{leak}", "--sets", 0.9], 5, "sets calibrated on it cannot be"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(run, files, made, digits_cache, tmp_path, case):
    arguments, code, said = REFUSED[case]
    cache, rectifier = made
    paths = {name: files / f"{name}.h5" for name in ("bare", "leak")}
    for name, splits in {"bare": ("train", "test"), "leak": ("train", "tune=test", "test")}.items():
        if not paths[name].exists():
            given = [(*split.split("="), split)[:2] for split in splits]
            options = [f"--{split}={files / f'{source}.npz'}" for split, source in given]
            assert run("import", *options, "-o", paths[name]).code == 0
    known = {"cache": cache, "marr": rectifier, "digits": digits_cache, "new": files / "new.npz"}
    known |= {**paths, "out": tmp_path / "out.npz"}
    done = run(*(str(each).format(**known) for each in arguments))
    assert (done.code, done.out) == (code, "")
    assert said in done.error
    assert not (tmp_path / "out.npz").exists()


def test_a_rectifier_fitted_on_tune_is_told(run, made, files):
    cache, _ = made
    scaled = files / "scaled.safetensors"
    assert run("rectify", cache, "--method", "temperature", "-o", scaled).code == 0
    done = run("evaluate", cache, scaled, "--sets", 0.9)
    assert done.code == 0
    assert "scaled was fitted on tune, whose rows decide what is in a set" in done.err


def test_features_alone(run, tmp_path, rng):
    """A whole head on a cache without one; its probe has sets as well."""
    files = {}
    for name, count in {"train": 600, "tune": 300, "test": 300}.items():
        given = rows_of(count, rng)
        files[name] = tmp_path / f"{name}.npz"
        np.savez(files[name], features=given["logits"], labels=given["labels"])
    cache, head, output = (tmp_path / each for each in ("f.h5", "head.safetensors", "o.npz"))
    splits = [f"--{name}={path}" for name, path in files.items()]
    assert run("import", *splits, "-o", cache).code == 0
    assert run("rectify", cache, "--method", "head", "-o", head).code == 0
    done = run("evaluate", cache, head, "--sets", 0.8)
    assert done.code == 0
    assert done.out.count("plain probe, logit-adjusted") == 2
    options = ["--sets", 0.8, "--calibration", cache, "-o", output]
    assert run("apply", files["test"], head, *options).code == 0
    with np.load(output) as found:
        covered = found["sets"][np.arange(300), found["labels"]].mean()
    assert covered == pytest.approx(0.8, abs=0.1)
