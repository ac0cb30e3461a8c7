"""Every kind of rectifier through every command that takes one, and the caches it fits."""

import numpy as np
import pytest
import torch

from marr_pipeline.cache import open_cache
from marr_pipeline.cli import main
from marr_pipeline.rectify.rectifier_file import load_rectifier

KINDS = ("marr", "crt", "tde", "disalign")
HEADS = ("crt", "balanced-softmax-head", "tde")


def succeed(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 0


@pytest.fixture(scope="module")
def files(digits_cache):
    """A rectifier file of each kind."""
    folder = digits_cache.parent
    found = {kind: folder / f"{kind}-kind.safetensors" for kind in KINDS}
    for kind, path in found.items():
        succeed("rectify", digits_cache, "--method", kind, "-o", path)
    return found


@pytest.fixture(scope="module")
def features_cache(digits_cache):
    """The same rows, of which features alone are stored."""
    path = digits_cache.with_name("features.h5")
    options = ["--checkpoint", digits_cache.with_suffix(".pt"), "--views", 2, "--store", "features"]
    succeed("extract", "--dataset", "digits-lt", *options, "-o", path)
    return path


@pytest.fixture(scope="module")
def logits_cache(digits_cache):
    """Logits alone, imported."""
    path = digits_cache.with_name("logits.h5")
    rows = open_cache(digits_cache).split("train")
    np.savez(path.with_suffix(".npz"), logits=rows.logits[0], labels=rows.labels)
    succeed("import", "--train", path.with_suffix(".npz"), "-o", path)
    return path


@pytest.mark.parametrize("method", [*HEADS, "disalign"])
def test_what_the_fit_says_of_itself(run, digits_cache, method):
    done = run("rectify", digits_cache, "--method", method, "--json")
    document = done.document
    closed = method == "tde"
    assert (done.code, document["method"], document["omega"]) == (0, method, None)
    assert document["status"] == ("closed_form" if closed else "converged")
    assert (document["optimizer"] is None) == closed
    before, after = document["metrics"]["before"], document["metrics"]["after"]
    if method == "crt":
        assert after["few"] > before["few"]
    if method == "disalign":
        assert after["nll"] < before["nll"]
        assert document["gap_bound"] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("crt",), ("crt (default): gamma 1, l2 0.0005 to zero, weighted mean",)),
        (("tde", "--alpha", "0.5"), ("tde: alpha 0.5",)),
        (
            ("disalign", "--form", "cvpods"),
            ("views, cvpods form", "gap no bound on this loss", "a lower one may exist"),
        ),
    ],
)
def test_the_header_says_what_is_minimised(run, digits_cache, options, said):
    told = run("rectify", digits_cache, "--method", *options).err
    assert all(part in told for part in said)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_logits_and_accuracies_agree(
    run, digits_cache, features_cache, files, kind, tmp_path
):
    """From stored logits and from features, by `evaluate` and by `apply`."""
    rows, output = open_cache(digits_cache).split("test"), tmp_path / "a.npz"
    expected = load_rectifier(files[kind]).apply(
        torch.from_numpy(rows.logits[0]), torch.from_numpy(rows.features[0])
    )
    scores = []
    for path in (digits_cache, features_cache):
        scores.append(run("evaluate", path, files[kind], "--json").document["methods"])
        assert run("apply", path, files[kind], "-o", output).code == 0
        with np.load(output) as found:
            np.testing.assert_allclose(found["logits"], expected.numpy(), rtol=1e-4, atol=1e-4)
            accuracy = (found["predictions"] == found["labels"]).mean()
        assert accuracy == pytest.approx(scores[-1][files[kind].stem]["overall"])
    stored, made = (each[files[kind].stem] for each in scores)
    assert stored["method"] == kind
    assert [made[name] for name in ("many", "few")] == [stored[name] for name in ("many", "few")]
    assert made["nll"] == pytest.approx(stored["nll"], rel=1e-5)


@pytest.mark.parametrize("figure", ["curves", "confusion"])
def test_figures_of_every_kind_on_features_alone(run, features_cache, files, figure, tmp_path):
    output, drawn = tmp_path / f"{figure}.png", [files[kind] for kind in KINDS if kind != "tde"]
    assert run("plot", figure, features_cache, *drawn, "-o", output).code == 0
    table = output.with_suffix(".csv").read_text(encoding="utf-8")
    assert output.stat().st_size > 10_000
    assert all(path.stem in table for path in drawn)


@pytest.mark.parametrize("kind", ["crt", "disalign"])
@pytest.mark.parametrize(
    ("width", "message"),
    [
        (None, "features: those of every sample expected"),
        (5, "a sample expected, as in the rectifier, got 5"),
    ],
)
def test_an_npz_without_its_features_is_refused(
    run, digits_cache, files, kind, width, message, tmp_path
):
    rows, output = open_cache(digits_cache).split("test"), tmp_path / "out.npz"
    features = {} if width is None else {"features": rows.features[0][:, :width]}
    np.savez(tmp_path / "new.npz", logits=rows.logits[0], **features)
    done = run("apply", tmp_path / "new.npz", files[kind], "-o", output)
    assert done.code == 3
    assert message in done.error
    assert not output.exists()


def test_an_npz_with_features_is_rectified_too(run, digits_cache, files, tmp_path):
    rows = open_cache(digits_cache).split("test")
    path, output = tmp_path / "new.npz", tmp_path / "out.npz"
    np.savez(path, logits=rows.logits, features=rows.features)
    assert run("apply", path, files["disalign"], "-o", output).code == 0
    with np.load(output) as found:
        assert found["logits"].shape == rows.logits.shape


@pytest.mark.parametrize("method", [*HEADS, "disalign"])
def test_a_cache_of_logits_alone_is_refused(run, logits_cache, method):
    refused = run("rectify", logits_cache, "--method", method)
    assert refused.code == 3
    assert f"expected for {method}, got a cache without" in refused.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("marr", "--form", "cvpods"), "--form: --method disalign expected, got marr"),
        (("marr", "--sampling", "class-balanced"), "instance expected with optimizer lbfgs"),
        (("disalign", "--optimizer", "newton"), "lbfgs or sgd expected for disalign"),
        (("disalign", "--tune", "auto"), "has more than scales and shifts to fit"),
        (("crt", "--alpha", "1"), "--alpha: --method tde expected, got crt"),
        (("crt", "--center", "identity"), "center: zero expected for crt"),
    ],
)
def test_options_that_do_not_go_together_are_refused(run, digits_cache, options, message):
    refused = run("rectify", digits_cache, "--method", *options)
    assert refused.code == 2
    assert message in refused.error


@pytest.fixture(scope="module")
def another_head(digits_cache):
    """A cache of another head of the same shape, and one of half the features."""
    folder = digits_cache.parent
    cached = open_cache(digits_cache)
    weight, bias = cached.head.weight, cached.head.bias
    rows = {
        name: (split.features[split.clean_view], split.labels)
        for name, split in cached.splits.items()
    }
    found = {"other": (weight[::-1], slice(None)), "narrow": (weight[:, ::2], slice(None, None, 2))}
    for name, (own, columns) in found.items():
        np.savez(folder / f"{name}-head.npz", weight=own, bias=bias)
        options = ["--head", folder / f"{name}-head.npz", "-o", folder / f"{name}.h5"]
        for split, (features, labels) in rows.items():
            path, kept = folder / f"{name}-{split}.npz", features[:, columns]
            np.savez(path, logits=kept @ own.T + bias, features=kept, labels=labels)
            options += [f"--{split}", path]
        succeed("import", *options)
    return {name: folder / f"{name}.h5" for name in found}


@pytest.mark.parametrize(
    ("command", "output"),
    [(["evaluate"], None), (["apply"], "out.npz"), (["plot", "curves"], "curves.png")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_another_head_must_be_asked_for(run, another_head, files, command, output, tmp_path):
    arguments = [another_head["other"], files["marr"]]
    if output is not None:
        arguments += ["-o", tmp_path / output]
    done = run(*command, *arguments)
    assert (done.code, done.out) == (3, "")
    assert f"{files['marr']}: a rectifier of this cache's head" in done.error
    assert done.error.endswith(f"fit one on {another_head['other']}, or use --any-head")
    assert list(tmp_path.iterdir()) == []
    assert run(*command, *arguments, "--any-head").code == 0
    assert output is None or (tmp_path / output).exists()


def test_a_head_of_another_width_cannot_be_asked_for(run, another_head, files):
    refused = run("evaluate", another_head["narrow"], files["crt"], "--any-head")
    assert refused.code == 3
    assert "features expected" in refused.error


def test_another_number_of_classes_cannot_be_asked_for(run, files, tmp_path):
    rng, labels = np.random.default_rng(1), np.repeat(np.arange(3), 5)
    np.savez(tmp_path / "three.npz", logits=rng.standard_normal((15, 3)), labels=labels)
    options = ["--train", tmp_path / "three.npz", "--test", tmp_path / "three.npz"]
    assert run("import", *options, "-o", tmp_path / "three.h5").code == 0
    done = run("evaluate", tmp_path / "three.h5", files["marr"], "--any-head")
    assert done.code == 3
    assert "a rectifier of 3 classes expected" in done.error
