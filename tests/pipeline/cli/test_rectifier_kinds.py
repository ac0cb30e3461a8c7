"""Every kind of rectifier through every command that takes one, and the caches it fits."""

import numpy as np
import pytest
import torch

from marr_pipeline.cache import open_cache
from marr_pipeline.cli import main
from marr_pipeline.rectify.rectifier_file import load_rectifier

KINDS = ("marr", "crt", "tde", "disalign")


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
    output, kinds = tmp_path / f"{figure}.png", [kind for kind in KINDS if kind != "tde"]
    drawn = [files[kind] for kind in kinds]
    assert run("plot", figure, features_cache, *drawn, "-o", output).code == 0
    table = output.with_suffix(".csv").read_text(encoding="utf-8")
    assert output.stat().st_size > 10_000
    assert all(kind in table for kind in kinds)


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
