"""A head that was fitted on features becomes the head of a cache: its prior and its normalisation
travel with it, and every method then runs on its logits and folds into it.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from marr_pipeline.cache import open_cache
from marr_pipeline.rectify.fold import fold_
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier
from marr_pipeline.rectify.rectifier_file import load_rectifier, save_rectifier
from marr_pipeline.workflows.import_logits import import_logits
from marr_pipeline.workflows.rectify import rectify_cache, resolve_settings
from marr_pipeline.workflows.scored_rows import closed_form, evaluation_rows

COUNTS = np.array([60, 25, 10, 5])
K, D = 4, 6
RNG = np.random.default_rng(3)
MEANS = 2 * RNG.standard_normal((K, D))
LOG_PRIOR = torch.from_numpy(np.log(COUNTS / COUNTS.sum()))
UNIFORM = torch.full((K,), -np.log(K), dtype=torch.float64)


def rows(labels):
    return (MEANS[labels] + RNG.standard_normal((len(labels), D))).astype(np.float32)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Features of a train and a test split."""
    monkeypatch.chdir(tmp_path)
    for name, labels in (
        ("train", np.repeat(np.arange(K), COUNTS)),
        ("test", np.arange(80) % K),
    ):
        np.savez(f"{name}.npz", features=rows(labels), labels=labels)
    return tmp_path


def head_file(name="head.safetensors", *, log_prior=LOG_PRIOR, normalise="none", **metadata):
    rng = np.random.default_rng(0)
    head = HeadRectifier(
        scale=torch.from_numpy(rng.uniform(0.5, 2, K)),
        shift=torch.from_numpy(rng.standard_normal(K)),
        weight=torch.from_numpy(MEANS + rng.standard_normal((K, D))),
        bias=torch.from_numpy(rng.standard_normal(K)),
        log_prior=log_prior,
        normalise=normalise,
        metadata={"method": "crt", **metadata},
    )
    save_rectifier(head, Path(name))
    return load_rectifier(Path(name))


def stacked(**how):
    files = {"train": "train.npz", "test": "test.npz"}
    imported = import_logits(files, "stacked.h5", head="head.safetensors", overwrite=True, **how)
    return open_cache("stacked.h5"), imported.warnings


def logits_of(cache, rectifier):
    test = evaluation_rows(cache, "test")
    return rectifier.apply(test.logits, test.features)


@pytest.mark.parametrize("normalise", ["none", "unit"])
@pytest.mark.parametrize("log_prior", [LOG_PRIOR, UNIFORM], ids=["counts", "uniform"])
def test_logit_adjustment_takes_the_heads_own_prior_away_once(here, normalise, log_prior):
    head = head_file(normalise=normalise, log_prior=log_prior)
    cache, warnings = stacked()
    assert warnings == []
    assert cache.split("test").logits is None
    assert cache.head.normalise == normalise
    expected = logits_of(cache, head)
    found = evaluation_rows(cache, "test").logits
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6 * 30)
    adjusted = logits_of(cache, closed_form(cache, "logit-adjustment"))
    difference = adjusted - found.double() + log_prior
    torch.testing.assert_close(difference, difference[:, :1].expand(-1, K), rtol=0, atol=1e-6)
    if log_prior is LOG_PRIOR:
        np.testing.assert_allclose(cache.head.prior_counts, COUNTS, rtol=1e-12)


@pytest.mark.parametrize("method", ["marr", "tau-norm", "vector-scaling", "logit-adjustment"])
def test_affine_methods_fold_into_the_head(here, method):
    head_file()
    cache, _ = stacked()
    fit = rectify_cache(cache, resolve_settings(cache, overrides={"method": method})).fit
    linear = torch.nn.Linear(D, K).double()
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(cache.head.weight))
        linear.bias.copy_(torch.from_numpy(cache.head.bias))
    test = evaluation_rows(cache, "test")
    with torch.no_grad():
        folded = fold_(linear, fit.rectifier)(test.features.double())
    torch.testing.assert_close(folded, fit.rectifier.apply(test.logits), rtol=1e-5, atol=1e-5)
    weight = fit.rectifier.scale[:, None] * torch.from_numpy(cache.head.weight)
    torch.testing.assert_close(linear.weight.detach(), weight, rtol=1e-12, atol=0)


def test_a_head_of_unit_rows_is_taken_so_by_every_method(here):
    head_file(normalise="unit")
    cache, _ = stacked()
    scaled = {
        name: dict(np.load(f"{name}.npz")) | {"features": 7 * np.load(f"{name}.npz")["features"]}
        for name in ("train", "test")
    }
    for name, arrays in scaled.items():
        np.savez(f"{name}.npz", **arrays)
    other, _ = stacked()
    for method in ("marr", "tde", "tau-norm"):
        first, second = (
            logits_of(
                each,
                rectify_cache(
                    each, resolve_settings(each, overrides={"method": method})
                ).fit.rectifier,
            )
            for each in (cache, other)
        )
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalise", ["none", "unit"])
def test_a_whole_head_is_applied_to_features_alone(run, here, normalise):
    head = head_file(normalise=normalise)
    z = np.load("test.npz")["features"]
    expected = head.apply(torch.empty(len(z), 0), torch.from_numpy(z))
    np.save("new.npy", z)
    import_logits({"train": "train.npz", "test": "test.npz"}, "alone.h5")
    any_head = ("--any-head",)
    for source, options in (("new.npy", ()), ("test.npz", ()), ("alone.h5", any_head)):
        done = run("apply", source, "head.safetensors", *options, "-o", "out.npz")
        assert done.code == 0, done.err
        with np.load("out.npz") as out:
            np.testing.assert_allclose(out["logits"], expected.numpy(), rtol=1e-5, atol=1e-5)
            assert np.array_equal(out["predictions"], expected.argmax(1))
    np.savez("logits.npz", logits=RNG.standard_normal((5, K)))
    done = run("apply", "logits.npz", "head.safetensors", "-o", "no.npz")
    assert (done.code, "features: those of every sample expected" in done.error) == (3, True)


def test_a_head_without_a_prior_is_told(here):
    head_file(log_prior=None)
    cache, warnings = stacked()
    assert cache.head.prior_counts is None
    assert "does not say which prior its probabilities stand for" in warnings[0]


def test_the_record_of_the_fit_is_kept_and_class_names_are_the_heads(here):
    head_file(class_names=["a", "b", "c", "d"], l2=0.5)
    cache, _ = stacked()
    assert cache.class_names == ["a", "b", "c", "d"]
    assert cache.meta("head")["l2"] == 0.5


def test_an_npz_of_the_same_head_gives_the_same_cache_head(here):
    head_file(normalise="unit")
    cache, _ = stacked()
    arrays = cache.head.arrays()
    np.savez("head.npz", **arrays, normalise=cache.head.normalise, class_counts=COUNTS)
    import_logits({"train": "train.npz"}, "other.h5", head="head.npz")
    assert open_cache("other.h5").head_fingerprint == cache.head_fingerprint


@pytest.mark.parametrize("kind", ["another method", "another width", "other names"])
def test_rectifiers_that_are_no_head_here(run, here, kind):
    names, labels = np.array(["a", "b", "c", "d"]), np.repeat(np.arange(K), COUNTS)
    if kind == "another method":
        one = torch.ones(K, dtype=torch.float64)
        save_rectifier(
            Rectifier(scale=one, shift=one - 1, metadata={"method": "marr"}),
            Path("head.safetensors"),
        )
        said = "a rectifier that is a whole head expected, got marr"
    else:
        head_file(class_names=["d", "c", "b", "a"])
        said = "the class names of head.safetensors expected, got others"
        if kind == "another width":
            np.savez("train.npz", features=rows(labels)[:, :5], labels=labels)
            said = "features as wide as the head's weight (6) expected, got 5"
        else:
            np.savez("train.npz", features=rows(labels), labels=labels, class_names=names)
    done = run("import", "--train", "train.npz", "--head", "head.safetensors", "-o", "c.h5")
    assert (done.code, done.out) == (3, "")
    assert said in done.error
    assert not Path("c.h5").exists()


def test_a_safetensors_head_that_is_no_rectifier_is_read_as_before(here):
    state = {"fc.weight": torch.ones(K, D), "fc.bias": torch.zeros(K)}
    save_file(state, "head.safetensors")
    cache, _ = stacked()
    assert (cache.head.weight == 1).all()
    assert cache.split("train").logits is None


def test_from_features_to_margins_on_a_fitted_head(run, here):
    def pipeline(*arguments):
        done = run(*arguments)
        assert done.code == 0, done.err
        return done

    rows = ("--train", "train.npz", "--test", "test.npz")
    assert "--method" in pipeline("import", *rows, "-o", "c.h5").err
    assert "none: features alone" in pipeline("inspect", "c.h5").out
    pipeline("rectify", "c.h5", "--method", "crt", "-o", "crt.safetensors")
    pipeline("import", *rows, "--head", "crt.safetensors", "-o", "s.h5")
    assert "softmax" in pipeline("rectify", "s.h5", "-o", "marr.safetensors").out
    found = pipeline("evaluate", "s.h5", "marr.safetensors", "--json").out
    assert '"logit-adjustment"' in found
