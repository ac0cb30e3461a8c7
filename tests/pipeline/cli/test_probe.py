"""On a cache of features alone what works on logits works on a plain probe's, and says so."""

import json

import numpy as np
import pytest
import torch

from marr_pipeline.cache import open_cache
from marr_pipeline.workflows.cached import evaluation_rows
from marr_pipeline.workflows.import_logits import import_logits
from marr_pipeline.workflows.probe import with_probe

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
    assert lines == ["plain probe", "plain probe, logit-adjusted", "crt"]
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
    assert not any(line.startswith("softmax") for line in done.out.splitlines())
    document = run("compare", features, *keys, "--json").document
    expected = ["softmax", "logit-adjustment", "marr", "tau-norm", "crt"]
    assert list(document["methods"]) == expected
    assert document["probe"]["l2"] > 0
    assert any("plain probe" in text for text in document["warnings"])
    heads = run("compare", features, "--methods", "head", "--resamples", "100", "--json")
    assert heads.code == 0
    assert "phase one trained on" not in heads.err  # no network has seen these rows


def test_figures_sweeps_and_reports(run, features, tmp_path):
    assert run("plot", "curves", features, "-o", tmp_path / "c.png").code == 0
    assert run("sweep", features, "--gamma", "0,1", "-o", tmp_path / "s.csv").code == 0
    options = ("--methods", "marr,crt", "--resamples", "100", "-o", tmp_path / "r.html")
    assert run("report", features, *options).code == 0
    assert "a plain probe, fitted here on features alone" in (tmp_path / "r.html").read_text()


def test_a_cache_with_a_head_has_no_probe(run, digits_cache):
    assert run("evaluate", digits_cache, "--json").document["probe"] is None
