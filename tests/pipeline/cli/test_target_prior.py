"""`--target-prior` moves logits and scores under it, `--class-distribution` only scores."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from known_posterior import KnownPosterior

import marr_pipeline
from marr_pipeline import names
from marr_pipeline.cache import open_cache
from marr_pipeline.errors import ConfigError
from marr_pipeline.rectify.rectifier_file import load_rectifier, save_rectifier
from marr_pipeline.workflows.repeat import commands

WORLD = KnownPosterior(num_classes=4)
NAMES = ["ant", "bee", "cat", "dog"]
KEYS = "bcts,lws,tau-norm,disalign,marr"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rows of a place as training, with the exact posterior's logarithms for logits."""
    path = tmp_path_factory.mktemp("places")
    for split, seed in (("train", 1), ("test", 2)):
        features, labels = WORLD.draw(WORLD.prior, 2_000, seed=seed)
        arrays = {"logits": WORLD.logits(features).float().numpy(), "labels": labels.numpy()}
        arrays["features"] = features.float().numpy()
        np.savez(path / f"{split}.npz", **arrays)
        np.savez(path / f"named-{split}.npz", **arrays, class_names=np.array(NAMES))
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture
def cache(run):
    done = run(
        "import", "--train", "train.npz", "--test", "test.npz", "--overwrite", "-o", "plain.h5"
    )
    assert done.code == 0, done.err
    return "plain.h5"


@pytest.fixture
def named(run):
    rows = ("--train", "named-train.npz", "--test", "named-test.npz")
    done = run("import", *rows, "--overwrite", "-o", "named.h5")
    assert done.code == 0, done.err
    return "named.h5"


def test_evaluate_moves_every_row_that_stands_for_a_prior(run, cache):
    as_it_is = run("evaluate", cache, "--json").document
    moved = run("evaluate", cache, "--target-prior", "uniform", "--json").document
    scored = run("evaluate", cache, "--class-distribution", "uniform", "--json").document
    assert (as_it_is["target_prior"], as_it_is["class_distribution"]) == (None, None)
    assert (moved["target_prior"], scored["class_distribution"]) == ("uniform", "uniform")
    softmax, adjusted = (moved["methods"][key] for key in ("softmax", "logit-adjustment"))
    assert softmax["nll"] == pytest.approx(adjusted["nll"])
    assert softmax["prior"]["shares"] == pytest.approx([0.25] * 4)
    # Scored under the uniform distribution, logit adjustment is right, and softmax stays wrong.
    assert scored["methods"]["logit-adjustment"]["nll"] == pytest.approx(adjusted["nll"])
    assert scored["methods"]["softmax"]["nll"] > softmax["nll"] + 0.2
    assert as_it_is["methods"]["softmax"]["overall"] > softmax["overall"]


@pytest.mark.parametrize("option", ["--target-prior", "--class-distribution"])
def test_by_name_is_what_in_order_is(run, named, option):
    Path("q.json").write_text(json.dumps({"dog": 4, "cat": 3, "bee": 0, "ant": 1}))
    Path("q.csv").write_text("class,share\ncat,3\nant,1\ndog,4\nbee,0\n")
    np.save("q.npy", [1, 0, 3, 4])
    found = [
        run("evaluate", named, option, f"q.{suffix}", "--json").document["methods"]
        for suffix in ("json", "csv", "npy")
    ]
    assert found[0] == found[1] == found[2]


def test_one_said_twice_is_one_and_two_are_refused(run, cache):
    both = ("--target-prior", "train", "--class-distribution")
    for command in (("evaluate", cache), ("compare", cache, "--methods", "bcts")):
        assert run(*command, *both, "train").code == 0
        refused = run(*command, *both, "uniform")
        assert refused.code == 2
        assert "that of --target-prior train, under which" in refused.error
        assert not refused.out


def test_compare_calibrates_what_it_moves_as_rectify_does_and_marks_the_rest(run, cache):
    options = ("--methods", KEYS, "--resamples", "100", "--target-prior", "uniform")
    shown = run("compare", cache, *options)
    assert "disalign (unmoved)" in shown.out
    assert "tau-norm (unmoved)" not in shown.out
    assert "with every class equally often, logits moved to it" in shown.out
    assert "lws, tau-norm: no class prior is known" in shown.err
    assert "disalign: no class prior is known" in shown.err
    document = run("compare", cache, *options, "--json").document
    assert document["unmoved"] == ["disalign"]
    alone = run("rectify", cache, "--method", "tau-norm", "--target-prior", "uniform", "--json")
    expected = alone.document["metrics"]["after"]["nll"]
    assert document["methods"]["tau-norm"]["nll"] == pytest.approx(expected, rel=1e-6)
    assert document["target_prior"] == "uniform"
    assert document["methods"]["bcts"]["vs_logit_adjustment"]["difference"] == pytest.approx(
        0, abs=0.02
    )


def test_several_caches_are_moved_each(run, cache):
    features, labels = WORLD.draw(WORLD.prior, 2_000, seed=2)
    counts = run("inspect", cache, "--json").document["class_counts"]
    np.savez(
        "again.npz",
        logits=(WORLD.logits(features) + 0.01).float().numpy(),
        labels=labels.numpy(),
        features=features.float().numpy(),
        class_counts=np.array(counts),
    )
    assert run("import", "--train", "train.npz", "--test", "again.npz", "-o", "b.h5").code == 0
    done = run("compare", cache, "b.h5", "--methods", "disalign", "--target-prior", "backward")
    assert done.code == 0, done.err
    assert "disalign (unmoved)" in done.out


def test_a_rectifier_is_written_for_the_place_and_moves_on(run, cache):
    assert run("rectify", cache, "-o", "fit.safetensors").code == 0
    done = run("rectify", cache, "--target-prior", "train", "-o", "there.safetensors", "--json")
    document = done.document
    assert document["target_prior"] == "train"
    assert document["prior"]["shares"] == pytest.approx(
        (np.array(load_rectifier_counts("there.safetensors")) / 2_000).tolist()
    )
    before, adjusted = (document["metrics"][key] for key in ("before", "logit_adjustment"))
    assert before["nll"] == pytest.approx(adjusted["nll"])
    told = run("inspect", "there.safetensors").out
    assert "stands for   the class shares of training, approximately" in told
    assert "stands for   the uniform prior, approximately" in run("inspect", "fit.safetensors").out
    written = run("evaluate", cache, "there.safetensors", "--target-prior", "train", "--json")
    metrics = written.document["methods"]["there"]
    assert metrics["nll"] == pytest.approx(document["metrics"]["after"]["nll"])
    for name, prior in (("fit", "train"), ("there", "train"), ("there", "uniform")):
        applied = run(
            "apply", cache, f"{name}.safetensors", "--target-prior", prior, "-o", f"{name}.npz"
        )
        assert applied.code == 0, applied.err
        assert "probabilities: for the" in applied.err
    assert run("apply", cache, "fit.safetensors", "-o", "fit.npz").code == 0
    with np.load("fit.npz") as fit, np.load("there.npz") as there:
        np.testing.assert_allclose(fit["probabilities"], there["probabilities"], atol=1e-6)


def load_rectifier_counts(name):
    return load_rectifier(Path(name)).metadata["class_counts"]


def test_rows_of_a_file_know_the_training_shares_of_their_rectifier(run, cache):
    assert run("rectify", cache, "--method", "bcts", "-o", "bcts.safetensors").code == 0
    with np.load("train.npz") as given:
        counts = np.bincount(given["labels"])
    np.save("counts.npy", counts)
    found = []
    for prior in ("train", "counts.npy"):
        options = ("--target-prior", prior, "-o", "rows.npz")
        assert run("apply", "test.npz", "bcts.safetensors", *options).code == 0
        with np.load("rows.npz") as applied:
            found.append(applied["probabilities"])
    np.testing.assert_array_equal(*found)


def test_shares_are_estimated_by_apply_alone(run, cache):
    done = run("rectify", cache, "--target-prior", "estimate")
    assert done.code == 2
    assert "got estimate, which is for the rows that apply is given" in done.err
    with pytest.raises(ConfigError, match="for the rows that apply is given; ask it"):
        marr_pipeline.compare([cache], target_prior="estimate")


def test_an_old_rectifier_does_not_know_them(run, cache):
    assert run("rectify", cache, "--method", "bcts", "-o", "bcts.safetensors").code == 0
    rectifier = load_rectifier(Path("bcts.safetensors"))
    known = {key: value for key, value in rectifier.metadata.items() if key != "class_counts"}
    save_rectifier(replace(rectifier, metadata=known), Path("old.safetensors"))
    options = ("apply", "test.npz", "old.safetensors", "-o", "old.npz", "--target-prior")
    refused = run(*options, "train")
    assert refused.code == 3
    assert "a rectifier that knows the class counts of training expected" in refused.error
    assert run(*options, "backward").code == 3
    assert run(*options, "uniform").code == 0


@pytest.mark.parametrize("method", ["tau-norm", "lws"])
def test_what_stands_for_no_prior_is_calibrated_first(run, cache, method):
    options = ("--method", method, "-o", "no.safetensors")
    done = run("rectify", cache, *options, "--target-prior", "train")
    assert done.code == 0, done.err
    assert f"{method}: no class prior is known" in done.err
    assert "so they are calibrated first" in done.err
    there = run("inspect", "no.safetensors", "--json").document["prior"]
    counts = np.array(run("inspect", cache, "--json").document["class_counts"])
    assert there["shares"] == pytest.approx((counts / counts.sum()).tolist())
    assert run("rectify", cache, *options).code == 0
    applied = run("apply", cache, "no.safetensors", "--target-prior", "train", "-o", "no.npz")
    assert applied.code == 0
    assert "no.safetensors: no class prior is known" in applied.err
    shown = run("evaluate", cache, "no.safetensors", "--target-prior", "train")
    assert "(unmoved)" not in shown.out
    assert "warning: no: no class prior is known" in shown.err


def test_what_stands_for_no_prior_and_is_not_calibrated_stays(run, cache):
    assert run("rectify", cache, "--method", "tau-norm", "-o", "no.safetensors").code == 0
    old = replace(load_rectifier(Path("no.safetensors")), calibration=None)
    save_rectifier(old, Path("no.safetensors"))
    refused = run("apply", cache, "no.safetensors", "--target-prior", "train", "-o", "no.npz")
    assert refused.code == 3
    assert "got one of tau-norm, which says none" in refused.error
    shown = run("evaluate", cache, "no.safetensors", "--target-prior", "train")
    assert "no (unmoved)" in shown.out
    assert "warning: no: no class prior is known" in shown.err
    assert "stands for   no class prior" in run("inspect", "no.safetensors").out


def test_python_says_the_same(cache):
    shares = [0.7, 0.1, 0.1, 0.1]
    found = marr_pipeline.evaluate(cache, target_prior=shares)
    assert found.document()["target_prior"] == shares
    assert found.rectifiers["softmax"].log_prior.exp().tolist() == pytest.approx(shares)
    fit = marr_pipeline.rectify_cache(cache, target_prior="train")
    assert "train" in fit.document()["target_prior"]
    rows = np.load("test.npz")
    estimator = marr_pipeline.MarginRectifier(method="bcts").fit(rows["logits"], rows["labels"])
    own = estimator.predict_proba(rows["logits"])
    assert np.abs(own - estimator.predict_proba(rows["logits"], target_prior="train")).max() < 1e-6
    by_label = {3: 1, 1: 1, 0: 7, 2: 1}
    moved = estimator.predict_proba(rows["logits"], target_prior=by_label)
    np.testing.assert_allclose(moved, estimator.predict_proba(rows["logits"], target_prior=shares))
    expected = torch.log(torch.from_numpy(own).double()) - torch.from_numpy(
        np.log(np.bincount(rows["labels"]))
    )
    expected = torch.softmax(expected + torch.tensor(shares).double().log(), 1)
    np.testing.assert_allclose(moved, expected.numpy(), atol=1e-6)


def test_sets_of_moved_logits_are_refused(run, cache):
    options = ("--target-prior", "uniform", "--sets", "0.9")
    refused = run("evaluate", cache, *options)
    assert refused.code == 2
    assert "for rows like those of split tune, got --target-prior uniform" in refused.error


def test_a_moved_fit_is_made_again_by_its_command(run, cache):
    there = Path("there.safetensors")
    assert run("rectify", cache, "--target-prior", "backward", "-o", there).code == 0
    first = load_rectifier(there)
    line, *_ = commands(
        open_cache(Path(cache)),
        {there: first},
        ridges=(1.0,),
        page_options=("--split", "test"),
        any_head=(),
        output=Path("report.html"),
    )
    assert run(*shlex.split(line)[1:]).code == 0
    torch.testing.assert_close(load_rectifier(there).shift, first.shift, rtol=0, atol=0)


def test_the_page_says_the_prior_of_every_method():
    page = (Path(__file__).parents[3] / "docs" / "priors.md").read_text(encoding="utf-8")
    first = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    assert [name for name in names.METHODS if f"`{name}`" not in "".join(first)] == []
