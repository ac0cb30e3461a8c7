"""`apply --target-prior estimate` and `--match-prior`, from the cache to the shares of its rows."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_posterior import KnownPosterior

from marr_pipeline.rectify.rectifier_file import load_rectifier, save_rectifier

WORLD = KnownPosterior(num_classes=4, sureness=2.0)
NAMES = ("ant", "bee", "cat", "dog")
AS_THEY_ARE = ("--normalise", "none")
HERE = WORLD.targets["backward"]


def write(name, prior, count, seed, *, spoil=None):
    features, labels = WORLD.draw(prior, count, seed=seed)
    logits = WORLD.logits(features)
    arrays = {"logits": logits.float().numpy(), "features": features.float().numpy()}
    arrays |= {"labels": labels.numpy(), "class_names": np.array(NAMES)}
    np.savez(f"{name}.npz", **(spoil(arrays) if spoil else arrays))


@pytest.fixture
def files(run, tmp_path, monkeypatch):
    """Rows of three places; a cache of them, and one without a tune split."""
    monkeypatch.chdir(tmp_path)
    write("train", WORLD.prior, 2_000, 1)
    write("tune", WORLD.targets["uniform"], 800, 2)
    write("test", HERE, 2_000, 3)
    splits = ("--train", "train.npz", "--test", "test.npz")
    assert run("import", *splits, "--tune", "tune.npz", "-o", "c.h5").code == 0
    assert run("import", *splits, "-o", "no-tune.h5").code == 0
    return tmp_path


def estimate(run, cache, *options, source=None):
    fit = run("rectify", cache, *options, "-o", "fit.safetensors")
    assert fit.code == 0, fit.err
    arguments = ("fit.safetensors", "--target-prior", "estimate", "-o", "out.npz", "--json")
    return run("apply", source or cache, *arguments)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--method", "softmax"),
        ("--method", "logit-adjustment"),
        ("--method", "tau-norm"),
        ("--method", "lws", "--l2", "0.1"),
        ("--method", "head", "--l2", "1e-3", "--normalise", "none"),
        ("--method", "bcts"),
        ("--target-prior", "backward"),
    ],
)
def test_the_shares_of_the_rows_are_found_whatever_the_method(run, files, options):
    done = estimate(run, "c.h5", *options)
    assert done.code == 0, done.err
    found = done.document["row_shares"]
    assert found["estimate"]["rows"] == 2_000
    np.testing.assert_allclose(found["shares"], HERE, atol=0.05)
    low, high = np.array(found["estimate"]["intervals"]).T
    assert ((low - 0.01 <= HERE.numpy()) & (HERE.numpy() <= high + 0.01)).all()
    assert done.document["prior"]["shares"] == pytest.approx(found["shares"], abs=1e-3)
    with np.load("out.npz") as applied:
        np.testing.assert_allclose(applied["probabilities"].mean(0), found["shares"], atol=1e-3)
        right = (applied["predictions"] == applied["labels"]).mean()
    features, labels = WORLD.draw(HERE, 2_000, seed=3)
    best = (WORLD.likelihood(features) + HERE.log()).argmax(1) == labels
    assert right > float(best.double().mean()) - 0.015


@pytest.mark.parametrize(
    ("options", "is_calibrated"),
    [
        ((), True),
        (("--method", "softmax"), True),
        (("--method", "head", *AS_THEY_ARE), True),  # its strength is chosen on folds
        (("--method", "ncm", *AS_THEY_ARE), True),
        (("--method", "gda", *AS_THEY_ARE), True),
        (("--method", "head", "--l2", "1e-3"), False),
        (("--method", "crt"), False),
        (("--method", "disalign"), False),
    ],
)
def test_without_a_tune_split_the_rows_fitted_calibrate(run, files, options, is_calibrated):
    done = estimate(run, "no-tune.h5", *options)
    rectifier = load_rectifier(Path("fit.safetensors"))
    told = run("inspect", "fit.safetensors")
    if is_calibrated:
        assert done.code == 0, done.err
        np.testing.assert_allclose(done.document["row_shares"]["shares"], HERE, atol=0.06)
        known = rectifier.calibration
        told_of_it = "rows that the network was trained on" in "".join(done.document["warnings"])
        assert (known.split, told_of_it) == ("train", known.is_seen)
        assert f"calibrated   on {rectifier.calibration.num_rows:,} rows of split train" in told.out
        return
    why = rectifier.metadata["uncalibrated"]
    assert done.code == 3
    assert f"calibrated   no: {why}" in told.out
    if "disalign" in options:
        assert "whose confidence is another for every sample" in done.error
    else:
        assert f"without ({why}); fit again with a tune split" in done.error
        assert "a whole head has seen the rows of split train" in why


def test_rows_of_folds_make_intervals_that_are_too_narrow(run, files):
    splits = ("--train", "train.npz", "--test", "test.npz")
    assert run("import", *splits, "--rows", "held-out", "-o", "folds.h5").code == 0
    told = "".join(estimate(run, "folds.h5").document["warnings"])
    assert "calibrated on held-out rows of split train; where these are folds" in told
    assert "held-out rows" not in "".join(estimate(run, "c.h5").document["warnings"])


def test_rows_known_by_heart_calibrate_nothing(run, files):
    def spoil(arrays):
        return arrays | {"logits": np.eye(4, dtype=np.float32)[arrays["labels"]] * 9}

    write("heart", WORLD.prior, 2_000, 1, spoil=spoil)
    splits = ("--train", "heart.npz", "--test", "test.npz")
    assert run("import", *splits, "-o", "heart.h5").code == 0
    assert run("import", *splits, "--tune", "tune.npz", "-o", "both.h5").code == 0
    assert run("import", *splits, "--rows", "held-out", "-o", "easy.h5").code == 0
    assert estimate(run, "easy.h5").code == 0  # right on rows that it has not seen
    assert not load_rectifier(Path("fit.safetensors")).calibration.is_seen
    refused = estimate(run, "heart.h5")
    assert (refused.code, refused.out) == (3, "")
    assert "has 100 % of the rows that it was trained on right" in refused.error
    assert "and there is no tune split); fit again with a tune split" in refused.error
    assert estimate(run, "both.h5").code == 0


def test_the_test_split_calibrates_nothing(run, files):
    splits = ("--train", "train.npz", "--tune", "test.npz", "--test", "test.npz")
    assert run("import", *splits, "-o", "leak.h5").code == 0
    done = run("rectify", "leak.h5", "--method", "softmax", "-o", "fit.safetensors")
    assert done.code == 0, done.err
    assert load_rectifier(Path("fit.safetensors")).calibration.split == "train"


def test_what_a_reader_sees(run, files):
    assert run("rectify", "c.h5", "-o", "fit.safetensors").code == 0
    shown = run(
        "apply", "test.npz", "fit.safetensors", "--target-prior", "estimate", "-o", "out.csv"
    )
    assert shown.code == 0, shown.err
    assert "predicted before" in shown.out
    assert "rows behind" in shown.out
    assert [line.split()[0] for line in shown.out.splitlines()[1:5]] == [*NAMES]
    assert "Of all rows, in per cent, [ ] 95 %" in shown.out
    assert "2,000 rows tell the shares as well as" in shown.err
    assert "probabilities: for class shares of" in shown.err


def test_few_rows_are_warned_of(run, files):
    write("few", HERE, 12, 5)
    assert run("rectify", "c.h5", "-o", "fit.safetensors").code == 0
    options = ("fit.safetensors", "--target-prior", "estimate", "-o", "out.npz")
    done = run("apply", "few.npz", *options)
    assert done.code == 0, done.err
    assert "labelled rows would; give shares that are known, or more rows" in done.err
    assert "fewer than 10 rows stand behind the share of" in done.err
    with np.load("test.npz") as test:
        np.savez("alike.npz", logits=test["logits"][[0, 0]])
    alike = run("apply", "alike.npz", *options, "--json").document
    assert "of 1 class (" in "".join(alike["warnings"])
    assert "no row speaks for 3 classes" in "".join(alike["warnings"])
    assert len(alike["row_shares"]["shares"]) == 4


def test_one_row_tells_no_shares(run, files):
    with np.load("test.npz") as test:
        np.savez("one.npz", logits=test["logits"][:1])
    done = estimate(run, "c.h5", source="one.npz")
    assert done.code == 3
    assert "one.npz: estimate: the rows of many samples expected, got one" in done.error


def test_views_count_as_one_row(run, files):
    with np.load("test.npz") as given:
        logits = given["logits"]
    np.savez("views.npz", logits=np.stack([logits, logits]))
    np.savez("plain.npz", logits=logits)
    assert run("rectify", "c.h5", "-o", "fit.safetensors").code == 0
    options = ("fit.safetensors", "--target-prior", "estimate", "-o", "out.npz", "--json")
    one, two = (
        run("apply", name, *options).document["row_shares"]["estimate"]
        for name in ("plain.npz", "views.npz")
    )
    assert one["rows"] == two["rows"] == 2_000
    np.testing.assert_allclose(one["intervals"], two["intervals"], atol=1e-4)


@pytest.mark.parametrize("said", ["uniform", "backward", "q.json"])
def test_predictions_are_matched_to_shares(run, files, said):
    Path("q.json").write_text(json.dumps({"dog": 0.5, "ant": 0.25, "bee": 0.25, "cat": 0}))
    expected = {
        "uniform": [0.25] * 4,
        "backward": load_counts(run)[::-1] / 2_000,
        "q.json": [0.25, 0.25, 0, 0.5],
    }[said]
    assert run("rectify", "c.h5", "-o", "fit.safetensors").code == 0
    options = ("--match-prior", said, "-o", "out.npz")
    shown = run("apply", "test.npz", "fit.safetensors", *options)
    assert shown.code == 0, shown.err
    assert "on the word that these rows have them" in shown.err
    assert "rows behind" not in shown.out
    with np.load("out.npz") as applied:
        np.testing.assert_allclose(applied["probabilities"].mean(0), expected, atol=1e-5)
    document = run("apply", "test.npz", "fit.safetensors", *options, "--json").document
    np.testing.assert_allclose(document["row_shares"]["shares"], expected, atol=1e-6)
    assert document["row_shares"]["estimate"] is None
    assert document["prior"]["shares"] == pytest.approx(expected, abs=1e-5)


def load_counts(run):
    return np.array(run("inspect", "c.h5", "--json").document["class_counts"])


def test_neither_is_a_default_and_both_are_refused(run, files):
    assert run("rectify", "c.h5", "-o", "fit.safetensors").code == 0
    plain = run("apply", "test.npz", "fit.safetensors", "-o", "out.npz", "--json").document
    assert plain["row_shares"] is None
    both = ("--target-prior", "estimate", "--match-prior", "uniform")
    refused = run("apply", "test.npz", "fit.safetensors", *both, "-o", "out.npz")
    assert refused.code == 2
    assert "--match-prior: no --target-prior beside it expected" in refused.error
    for prior in (both[:2], both[2:]):
        refused = run("apply", "c.h5", "fit.safetensors", *prior, "--sets", "0.9", "-o", "out.npz")
        assert refused.code == 2
        assert f"got {prior[0]} {prior[1]}; leave one" in refused.error


def test_a_file_that_was_never_calibrated(run, files):
    assert run("rectify", "c.h5", "-o", "fit.safetensors").code == 0
    old = replace(load_rectifier(Path("fit.safetensors")), calibration=None)
    save_rectifier(old, Path("old.safetensors"))
    refused = run(
        "apply", "test.npz", "old.safetensors", "--target-prior", "estimate", "-o", "out.npz"
    )
    assert refused.code == 3
    assert "a rectifier with one expected, got one of marr without; fit again" in refused.error
    assert "calibrated   no: none was stored" in run("inspect", "old.safetensors").out
    moved = run("apply", "test.npz", "old.safetensors", "--target-prior", "train", "-o", "out.npz")
    assert moved.code == 0  # of a prior that is known nothing needs calibration


def test_rectify_without_a_file_calibrates_nothing(run, files, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr("marr_pipeline.workflows.rectify.with_calibration", fail)
    assert run("rectify", "c.h5").code == 0
    assert run("rectify", "c.h5", "--target-prior", "train").code == 0


def test_what_no_shifts_can_follow_is_not_matched(run, files):
    assert run("rectify", "c.h5", "--method", "disalign", "-o", "fit.safetensors").code in (0, 4)
    for prior in (("--match-prior", "uniform"), ("--target-prior", "uniform")):
        refused = run("apply", "test.npz", "fit.safetensors", *prior, "-o", "out.npz")
        assert refused.code == 3
        assert "got disalign, whose confidence is another for every sample" in refused.error
