"""`pipeline bench fit CACHE --checkpoint FILE`: the paper's online way on real images."""

import numpy as np
import pytest

FEW = ("--only", "lbfgs", "--repeat", 1, "--reduction", "plain", "--l2", 5e-4)


def test_the_network_in_every_step_gives_the_probabilities_of_the_cache(run, digits_cache):
    checkpoint = digits_cache.with_suffix(".pt")
    done = run(
        "bench", "fit", digits_cache, *FEW, "--checkpoint", checkpoint, "--steps", 12, "--json"
    )
    assert done.code == 0, done.err
    online = done.document["online"]
    assert (online["steps"], online["schedule_steps"], online["is_extrapolated"]) == (
        12,
        2000,
        True,
    )
    assert online["differences"]["probabilities"]["largest"] < 1e-5
    assert online["differences"]["rows"] == 2 * done.document["problem"]["samples"]


def test_the_table_marks_what_was_not_measured(run, digits_cache):
    checkpoint = digits_cache.with_suffix(".pt")
    done = run("bench", "fit", digits_cache, *FEW, "--checkpoint", checkpoint, "--steps", 2)
    (line,) = [line for line in done.out.splitlines() if line.startswith("whole schedule")]
    assert line.endswith("estimated from the steps above")


def test_another_network_is_refused_before_anything_is_measured(run, digits_cache, tmp_path):
    other = tmp_path / "other.pt"
    options = ("--iterations", 2, "--batch-size", 64, "--seed", 1)
    assert run("train", "--dataset", "digits-lt", *options, "-o", other).code == 0
    done = run("bench", "fit", digits_cache, *FEW, "--checkpoint", other)
    assert (done.code, done.out) == (3, "")
    assert "weights.conv1.weight" in done.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", 3), "--steps: --checkpoint beside it expected"),
        (("--data-root", "."), "--data-root: --checkpoint beside it expected"),
    ],
)
def test_what_belongs_to_a_checkpoint_needs_one(run, digits_cache, options, message):
    done = run("bench", "fit", digits_cache, *FEW, *options)
    assert done.code == 2
    assert message in done.error


@pytest.mark.parametrize(("views", "found"), [("clean", "clean views"), (None, "synthetic rows")])
def test_only_augmented_views_of_a_cache_can_be_made_again(run, digits_cache, views, found):
    checkpoint = digits_cache.with_suffix(".pt")
    rows = () if views is None else (digits_cache, "--fit-views", views)
    done = run("bench", "fit", *rows, *FEW, "--checkpoint", checkpoint)
    assert done.code == 2
    assert f"expected, got {found}" in done.error


def test_an_imported_cache_has_no_network(run, digits_cache, tmp_path):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [30, 10, 5])
    np.savez(tmp_path / "a.npz", logits=generator.standard_normal((45, 3)), labels=labels)
    imported = tmp_path / "a.h5"
    assert run("import", "--train", tmp_path / "a.npz", "-o", imported).code == 0
    checkpoint = digits_cache.with_suffix(".pt")
    done = run("bench", "fit", imported, *FEW, "--checkpoint", checkpoint)
    assert done.code == 3
    assert "made by `pipeline extract` expected, got an imported cache" in done.error
