"""On a cache of features alone what works on logits works on a plain probe's, and says so."""

import json

import numpy as np
import pytest
import torch

from marr_pipeline.cache import open_cache
from marr_pipeline.workflows.import_logits import import_logits
from marr_pipeline.workflows.probe import with_probe
from marr_pipeline.workflows.scored_rows import evaluation_rows

COUNTS = np.array([80, 30, 12, 6])
K, D = 4, 6
MEANS = 2 * np.random.default_rng(3).standard_normal((K, D))


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A cache of features alone."""
    folder, rng = tmp_path_factory.mktemp("features"), np.random.default_rng(4)
    for name, labels in (("train", np.repeat(np.arange(K), COUNTS)), ("test", np.arange(80) % K)):
        rows = MEANS[labels] + rng.standard_normal((len(labels), D))
        np.savez(folder / f"{name}.npz", features=rows.astype(np.float32), labels=labels)
    files = {name: folder / f"{name}.npz" for name in ("train", "test")}
    import_logits(files, folder / "features.h5")
    return folder / "features.h5"


def test_rectify_fits_heads_alone_and_shows_no_baseline(run, features):
    done = run("rectify", features, "--json")
    assert (done.code, done.out) == (3, "")
    assert "logits expected for marr, got a cache of features alone" in done.error
    assert "--method crt" in done.error
    done = run("rectify", features, "--method", "crt", "--json")
    assert done.code == 0
    metrics = done.document["metrics"]
    assert metrics["before"] is metrics["logit_adjustment"] is None
    assert metrics["after"]["overall"] > 0.5
    table = run("rectify", features, "--method", "crt").out
    assert "after crt" in table
    assert "softmax" not in table


def test_the_probe_is_the_minimum_of_the_plain_loss(features):
    cached, warnings = with_probe(open_cache(features), eval_split="test")
    assert "a plain probe's" in warnings[0]
    train = evaluation_rows(cached, "train")
    head = torch.from_numpy(np.column_stack([cached.head.weight, cached.head.bias]))
    head.requires_grad_(True)
    z = train.features.double()
    if cached.head.normalise == "unit":
        z = z / z.norm(dim=1, keepdim=True)
    record = json.loads(cached.documents["probe"])
    loss = torch.nn.functional.cross_entropy(z @ head[:, :-1].T + head[:, -1], train.labels)
    scale = record["ridge"] if "ridge" in record else record["l2"]
    (loss + scale / 2 * (head**2).sum()).backward()
    assert head.grad.abs().max() < 1e-3
    np.testing.assert_array_equal(cached.head.prior_counts, COUNTS)
    with_head, none = with_probe(cached, eval_split="test")
    assert (with_head, none) == (cached, [])


def test_evaluate_names_the_probe(run, features, tmp_path):
    run("rectify", features, "--method", "crt", "-o", tmp_path / "crt.safetensors")
    done = run("evaluate", features, tmp_path / "crt.safetensors")
    lines = [line.split("  ")[0] for line in done.out.splitlines()[1:]]
    assert lines[:-1] == ["plain probe", "plain probe, logit-adjusted", "crt"]
    assert lines[-1].startswith("+ better, - worse than plain probe")
    assert "softmax and logit adjustment are a plain probe's" in done.err
    document = run("evaluate", features, "--json").document
    assert list(document["methods"]) == ["softmax", "logit-adjustment"]
    assert document["probe"]["status"] == "converged"
    cached, _ = with_probe(open_cache(features), eval_split="test")
    rows = evaluation_rows(cached, "test")
    right = (rows.logits.argmax(1) == rows.labels).double().mean()
    assert document["methods"]["softmax"]["overall"] == pytest.approx(float(right))


def test_compare_fits_every_method_on_the_probes_logits(run, features):
    keys = ("--methods", "marr,tau-norm,crt", "--resamples", "100")
    done = run("compare", features, *keys)
    assert "plain probe, logit-adjusted" in done.out
    assert "softmax" not in done.out
    assert "vs plain probe" in done.out
    document = run("compare", features, *keys, "--json").document
    expected = ["softmax", "logit-adjustment", "marr", "tau-norm", "crt"]
    assert list(document["methods"]) == expected
    assert document["probe"]["l2"] > 0
    assert any("plain probe" in text for text in document["warnings"])
    heads = run("compare", features, "--methods", "head", "--resamples", "100", "--json")
    assert heads.code == 0
    assert "phase one trained on" not in heads.err  # no network has seen these rows


def test_figures_sweeps_and_reports(run, features, tmp_path, monkeypatch):
    monkeypatch.setattr("marr_pipeline.workflows.report.FIGURES", ("curves",))
    assert run("plot", "curves", features, "-o", tmp_path / "c.png").code == 0
    assert run("sweep", features, "--gamma", "0,1", "-o", tmp_path / "s.csv").code == 0
    options = ("--methods", "marr,crt", "--resamples", "100", "-o", tmp_path / "r.html")
    assert run("report", features, *options).code == 0
    html = (tmp_path / "r.html").read_text()
    assert "fitted here on features alone" in html
    assert "As it is a plain probe on its features is right on" in html
    assert 'data-value="plain probe, logit-adjusted"' in html
    assert "training samples" in html
    assert "training images" not in html
    assert "vs plain probe" in html
    assert "vs softmax" not in html
    assert ">softmax<" not in html  # neither in a table nor in a figure's legend
    shown = run("sweep", features, "--gamma", "1").out.splitlines()
    assert shown[1].startswith("plain probe ")


def test_a_split_that_is_not_there_is_said_before_the_fits(run, features, monkeypatch):
    monkeypatch.setattr("marr_pipeline.workflows.probe.tuned_or_preset", None)
    for command in ("evaluate", "compare"):
        done = run(command, features, "--split", "tune")
        assert done.code == 3
        assert "has no split 'tune'" in done.error


def test_methods_that_the_rows_cannot_bear_leave_the_others(run, tmp_path):
    rows = MEANS + np.random.default_rng(5).standard_normal((K, D))
    np.savez(tmp_path / "t.npz", features=rows.astype(np.float32), labels=np.arange(K))
    files = dict.fromkeys(("train", "test"), tmp_path / "t.npz")
    import_logits(files, tmp_path / "one.h5")
    options = ("--methods", "marr,ncm,gda", "--resamples", "100", "--json")
    document = run("compare", tmp_path / "one.h5", *options).document
    assert list(document["methods"]) == ["softmax", "logit-adjustment", "marr"]
    assert list(document["failed"]) == ["ncm", "gda"]
    assert "a class with two samples or more expected" in document["failed"]["gda"]


def test_from_logits_of_features_alone_is_refused(run, features):
    done = run("rectify", features, "--method", "head", "--from", "logits")
    assert done.code == 3
    assert "logits expected with --from logits, got features alone" in done.error


def test_a_centre_that_does_not_fit_is_named(run, features, tmp_path):
    np.save(tmp_path / "c.npy", np.ones((K, D + 1)))
    done = run("rectify", features, "--method", "head", "--center", tmp_path / "c.npy")
    assert done.code == 3
    assert f"{tmp_path / 'c.npy'}: a matrix of 6 columns" in done.error
    done = run("rectify", features, "--method", "head", "--center", tmp_path)
    assert done.code == 2
    assert f"got {tmp_path}, which is no file" in done.error


def test_apply_names_the_rows_that_do_not_fit(run, features, tmp_path):
    run("rectify", features, "--method", "crt", "-o", tmp_path / "crt.safetensors")
    np.savez(tmp_path / "new.npz", features=np.ones((3, D + 1), np.float32))
    done = run(
        "apply", tmp_path / "new.npz", tmp_path / "crt.safetensors", "-o", tmp_path / "o.npz"
    )
    assert done.code == 3
    assert str(tmp_path / "new.npz") in done.error


def test_a_cache_with_a_head_has_no_probe(run, digits_cache):
    assert run("evaluate", digits_cache, "--json").document["probe"] is None
