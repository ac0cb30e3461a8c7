"""DisAlign through the commands, and every kind of rectifier on every kind of cache."""

import numpy as np
import pytest
import torch

from marr_pipeline.cache import open_cache
from marr_pipeline.cli import main
from marr_pipeline.rectify.head.rectifier import HeadRectifier
from marr_pipeline.rectify.rectifier_file import load_rectifier

KINDS = ("marr", "head", "disalign")


@pytest.fixture(scope="module")
def files(digits_cache, digits_rectifier):
    """A rectifier file of each kind; `head` is the cache's own head, twice as sure."""
    disalign = digits_cache.with_name("disalign.safetensors")
    with pytest.raises(SystemExit) as stop:
        main(["rectify", str(digits_cache), "--method", "disalign", "-o", str(disalign)])
    assert stop.value.code == 0
    cached, head = open_cache(digits_cache), digits_cache.with_name("head.safetensors")
    HeadRectifier(
        scale=torch.ones(10, dtype=torch.float64),
        shift=torch.zeros(10, dtype=torch.float64),
        weight=2 * torch.from_numpy(cached.head.weight).double(),
        bias=2 * torch.from_numpy(cached.head.bias).double(),
        metadata={"method": "crt", "head_fingerprint": cached.head_fingerprint},
    ).save(head)
    return {"marr": digits_rectifier, "head": head, "disalign": disalign}


@pytest.fixture(scope="module")
def features_cache(digits_cache):
    """The same rows, of which features alone are stored."""
    path = digits_cache.with_name("features.h5")
    checkpoint = digits_cache.with_suffix(".pt")
    options = ["--checkpoint", str(checkpoint), "--views", "2", "--store", "features"]
    with pytest.raises(SystemExit) as stop:
        main(["extract", "--dataset", "digits-lt", *options, "-o", str(path)])
    assert stop.value.code == 0
    return path


@pytest.fixture
def logits_npz(digits_cache, tmp_path):
    rows = open_cache(digits_cache).split("test")
    path = tmp_path / "new.npz"
    np.savez(path, logits=rows.logits[0])
    return path


def test_the_document_and_the_table_of_disalign(run, digits_cache, files):
    done = run("rectify", digits_cache, "--method", "disalign", "--json")
    document = done.document
    assert (done.code, document["status"], document["method"]) == (0, "converged", "disalign")
    assert (document["gap_bound"], document["omega"]) == (None, None)
    assert document["grad_norm"] <= 1e-6
    after, before = document["metrics"]["after"], document["metrics"]["before"]
    assert after["nll"] < before["nll"]
    told = run("rectify", digits_cache, "--method", "disalign", "--form", "cvpods")
    assert "views, cvpods form" in told.err
    assert "gap no bound on this loss" in told.err
    assert "a lower one may exist" in told.err


@pytest.mark.parametrize("kind", KINDS)
def test_logits_or_features_make_no_difference(run, digits_cache, features_cache, files, kind):
    scores = [
        run("evaluate", path, files[kind], "--json").document["methods"]
        for path in (digits_cache, features_cache)
    ]
    stored, made = (each[files[kind].stem] for each in scores)
    assert stored["method"] == {"head": "crt"}.get(kind, kind)
    for name in ("overall", "many", "few", "worst_class"):
        assert made[name] == stored[name]
    assert made["nll"] == pytest.approx(stored["nll"], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stored", ["both", "features"])
def test_apply_gives_the_logits_that_are_scored(
    run, digits_cache, features_cache, files, kind, stored, tmp_path
):
    path, output = {"both": digits_cache, "features": features_cache}[stored], tmp_path / "a.npz"
    assert run("apply", path, files[kind], "-o", output).code == 0
    rows = open_cache(digits_cache).split("test")
    expected = load_rectifier(files[kind]).apply(
        torch.from_numpy(rows.logits[0]), torch.from_numpy(rows.features[0])
    )
    with np.load(output) as found:
        np.testing.assert_allclose(found["logits"], expected.numpy(), rtol=1e-4, atol=1e-4)
        accuracy = (found["predictions"] == rows.labels).mean()
    scored = run("evaluate", path, files[kind], "--json").document["methods"]
    assert accuracy == pytest.approx(scored[files[kind].stem]["overall"])


@pytest.mark.parametrize("figure", ["curves", "confusion"])
def test_figures_of_every_kind_on_features_alone(run, features_cache, files, figure, tmp_path):
    output = tmp_path / f"{figure}.png"
    assert run("plot", figure, features_cache, *files.values(), "-o", output).code == 0
    table = output.with_suffix(".csv").read_text(encoding="utf-8")
    assert output.stat().st_size > 10_000
    assert all(path.stem in table for path in files.values())


@pytest.mark.parametrize("kind", ["head", "disalign"])
def test_without_features_it_is_said(run, logits_npz, files, kind, tmp_path):
    output = tmp_path / "out.npz"
    done = run("apply", logits_npz, files[kind], "-o", output)
    assert done.code == 3
    assert "features: those of every sample expected" in done.error
    assert not output.exists()


@pytest.mark.parametrize("kind", ["head", "disalign"])
def test_features_of_another_width_are_refused(run, digits_cache, files, kind, tmp_path):
    rows = open_cache(digits_cache).split("test")
    path = tmp_path / "narrow.npz"
    np.savez(path, logits=rows.logits[0], features=rows.features[0][:, :5])
    done = run("apply", path, files[kind], "-o", tmp_path / "out.npz")
    assert done.code == 3
    width = rows.features.shape[-1]
    assert f"features: {width} a sample expected, as in the rectifier, got 5" in done.error


def test_an_npz_with_features_is_rectified_too(run, digits_cache, files, tmp_path):
    rows = open_cache(digits_cache).split("test")
    path, output = tmp_path / "new.npz", tmp_path / "out.npz"
    np.savez(path, logits=rows.logits, features=rows.features)
    assert run("apply", path, files["disalign"], "-o", output).code == 0
    with np.load(output) as found:
        assert found["logits"].shape == rows.logits.shape


def test_a_cache_without_features_cannot_bear_disalign(run, logits_npz, tmp_path):
    train, cache = tmp_path / "train.npz", tmp_path / "own.h5"
    logits = np.load(logits_npz)["logits"]
    np.savez(train, logits=logits, labels=np.arange(len(logits)) % 10)
    assert run("import", "--train", train, "-o", cache).code == 0
    done = run("rectify", cache, "--method", "disalign")
    assert done.code == 3
    assert "features expected for disalign, got a cache without" in done.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "marr", "--form", "cvpods"), "--form: --method disalign expected, got marr"),
        (("--method", "disalign", "--optimizer", "newton"), "lbfgs or sgd expected for disalign"),
        (("--method", "disalign", "--tune", "auto"), "has more than scales and shifts to fit"),
    ],
)
def test_options_that_do_not_fit_are_refused(run, digits_cache, arguments, message):
    done = run("rectify", digits_cache, *arguments)
    assert done.code == 2
    assert message in done.error
