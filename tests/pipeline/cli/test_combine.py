"""`pipeline combine`: exact sums, the weights it fits, and what it refuses."""

import numpy as np
import pytest
from caches import write_splits

from marr_pipeline import combine
from marr_pipeline.cache import Head, SplitArrays, open_cache, verify_cache

K = 5
COUNTS = np.array([50, 30, 20, 8, 2])
SIZES = {"train": 110, "tune": 200, "test": 60}


def labels_of(name):
    rng = np.random.default_rng(sorted(SIZES).index(name))
    return rng.integers(0, K, SIZES[name])


def write(path, *, seed, signal=2.0, prior=None, splits=tuple(SIZES), views=("clean",), **given):
    """A cache of logits that know their label by `signal` and stand for `prior`."""
    rng = np.random.default_rng(seed)
    shares = COUNTS if prior is None else np.asarray(prior)
    arrays = {}
    for name in splits:
        labels = labels_of(name)
        kinds = views if name == "train" else views[:1]
        logits = rng.normal(size=(len(kinds), len(labels), K)) + signal * np.eye(K)[labels]
        logits = (logits + np.log(shares)).astype(np.float32)
        ids = [f"{name}/{row}" for row in range(len(labels))]
        arrays[name] = SplitArrays(logits=logits, labels=labels, ids=ids, views=kinds)
    counts = None if prior is None else np.asarray(prior, np.float64)
    head = Head(weight_norm=np.ones(K), prior_counts=counts)
    plain = {"class_counts": COUNTS, "head": head, "class_names": list("abcde")}
    write_splits(path, arrays, **{**plain, "parts": {"seed": seed}, **given})
    return path


@pytest.fixture
def caches(tmp_path):
    """One that knows its prior to be uniform, and one of the training counts."""
    return (
        write(tmp_path / "a.h5", seed=1, prior=np.ones(K)),
        write(tmp_path / "b.h5", seed=2, signal=1.5),
    )


def of_uniform(path, name):
    found = open_cache(path)
    counts = found.head.prior_counts if found.head.prior_counts is not None else COUNTS
    return found.split(name).logits.astype(np.float64) - np.log(counts / counts.sum())


def test_the_sum_is_exact_and_stands_for_the_uniform_prior(run, caches, tmp_path):
    output = tmp_path / "c.h5"
    done = run("combine", *caches, "--weights", "1,0.5", "-o", output, "--json")
    assert done.code == 0, done.err
    combined = open_cache(output)
    for name in SIZES:
        expected = of_uniform(caches[0], name) + 0.5 * of_uniform(caches[1], name)
        np.testing.assert_allclose(combined.split(name).logits, expected, rtol=1e-6, atol=1e-5)
        np.testing.assert_array_equal(combined.split(name).labels, labels_of(name))
        assert combined.split(name).ids == open_cache(caches[0]).split(name).ids
    assert verify_cache(output) == []
    assert (combined.head.prior_counts == 1).all()
    assert combined.class_names == list("abcde")
    assert combined.parts["combined"] == {
        "parents": [open_cache(path).fingerprint for path in caches],
        "weights": [1.0, 0.5],
    }
    document = done.document
    assert document["weights"] == [1.0, 0.5]
    assert document["fit_split"] is document["status"] is document["loss"] is None
    (warning,) = document["warnings"]
    assert warning.startswith(f"{caches[1]}: the prior that its logits stand for is not known")
    scored = run("evaluate", output, "--json").document["methods"]
    softmax, adjusted = scored["softmax"], scored["logit-adjustment"]
    assert softmax["nll"] == pytest.approx(adjusted["nll"])  # the prior is not taken off twice


def test_weights_are_fitted_on_tune_and_better_than_each_alone(run, caches, tmp_path):
    done = run("combine", *caches, "-o", tmp_path / "c.h5", "--json")
    assert done.code == 0, done.err
    document = done.document
    assert document["status"] == "converged"
    assert document["fit_split"] == "tune"
    assert document["loss"] < min(document["loss_alone"])
    evaluated = run("evaluate", tmp_path / "c.h5", "--split", "tune", "--json").document
    labels = labels_of("tune")
    total = sum(
        weight * of_uniform(path, "tune")[0]
        for weight, path in zip(document["weights"], caches, strict=True)
    )
    losses = np.logaddexp.reduce(total, 1) - total[np.arange(len(labels)), labels]
    balanced = np.mean([losses[labels == label].mean() for label in range(K)])
    assert document["loss"] == pytest.approx(balanced, rel=1e-6)
    assert evaluated["methods"]["softmax"]["nll"] == pytest.approx(losses.mean(), rel=1e-5)
    again = run("combine", *caches, "-o", tmp_path / "d.h5")
    assert again.out.splitlines()[0].split() == ["weight", "nll", "alone", "cache"]
    assert open_cache(tmp_path / "d.h5").fingerprint == open_cache(tmp_path / "c.h5").fingerprint


def test_one_that_adds_nothing_is_told(run, caches, tmp_path):
    bad = write(tmp_path / "bad.h5", seed=3, signal=-1.0)
    done = run("combine", *caches, bad, "-o", tmp_path / "c.h5", "--json")
    assert done.document["weights"][2] == 0
    assert f"{bad}: its weight is 0: it adds nothing to the others on tune" in done.err


def test_without_tune_it_is_a_leak_and_says_what_to_do(run, tmp_path):
    splits = ("train", "test")
    caches = [write(tmp_path / f"{seed}.h5", seed=seed, splits=splits) for seed in (1, 2)]
    done = run("combine", *caches, "-o", tmp_path / "c.h5")
    assert done.code == 5
    assert "a split tune expected" in done.error
    assert "give --weights 1,1, or extract with --tune-fraction" in done.error
    assert not (tmp_path / "c.h5").exists()
    assert run("combine", *caches, "--weights", "1,1", "-o", tmp_path / "c.h5").code == 0


def test_rows_that_are_told_apart_are_refused(run, tmp_path):
    caches = [write(tmp_path / f"{seed}.h5", seed=seed, signal=40.0) for seed in (1, 2)]
    done = run("combine", *caches, "-o", tmp_path / "c.h5")
    assert done.code == 1
    assert "a sum tells all apart" in done.error
    assert "give --weights 1,1" in done.error


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("1", "--weights: 2 numbers expected, one a cache, got 1"),
        (
            "1,-1",
            "finite numbers of at least 0, one of them above (1e-06 at least), expected, got 1,-1",
        ),
        ("0,0", "one of them above (1e-06 at least), expected, got 0,0"),
        ("1e-300,0", "expected, got 1e-300,0"),
        ("nan,1", "finite numbers of at least 0"),
    ],
)
def test_weights_that_are_none(run, caches, tmp_path, weights, message):
    done = run("combine", *caches, "--weights", weights, "-o", tmp_path / "c.h5")
    assert done.code == 2
    assert message in done.error


def test_one_cache_is_no_sum(run, caches, tmp_path):
    done = run("combine", caches[0], "-o", tmp_path / "c.h5")
    assert done.code == 2
    assert "two or more caches expected, got 1" in done.error


def test_a_tune_split_that_is_the_test_split_is_a_leak(run, tmp_path):
    labels = labels_of("test")
    caches = []
    for seed in (1, 2):
        logits = np.random.default_rng(seed).normal(size=(1, len(labels), K)).astype(np.float32)
        rows = SplitArrays(logits=logits, labels=labels)
        caches.append(tmp_path / f"{seed}.h5")
        splits = {"train": rows, "tune": rows, "test": rows}
        write_splits(caches[-1], splits, class_counts=COUNTS, parts={"seed": seed})
    done = run("combine", *caches, "-o", tmp_path / "c.h5")
    assert done.code == 5
    assert "other samples than the test split's" in done.error
    assert "give --weights 1,1" in done.error
    assert not (tmp_path / "c.h5").exists()
    assert run("combine", *caches, "--weights", "1,1", "-o", tmp_path / "c.h5").code == 0


def test_an_input_is_never_replaced_and_never_added_twice(run, caches, tmp_path):
    before = caches[0].read_bytes()
    done = run("combine", *caches, "--weights", "1,1", "-o", caches[0], "--overwrite")
    assert done.code == 2
    assert "a file of its own for each output expected, got an input again" in done.error
    assert caches[0].read_bytes() == before
    done = run("combine", caches[0], caches[0], "-o", tmp_path / "c.h5")
    assert done.code == 2
    assert f"got the contents of {caches[0]} again; give each cache once" in done.error


def test_caches_that_are_all_of_no_use_are_refused(run, tmp_path):
    caches = [write(tmp_path / f"{seed}.h5", seed=seed, signal=-2.0) for seed in (1, 2)]
    done = run("combine", *caches, "-o", tmp_path / "c.h5")
    assert done.code == 1
    assert "got none: every weight is 0" in done.error
    assert not (tmp_path / "c.h5").exists()


def test_rows_without_ids_beside_rows_with_them_are_told(run, caches, tmp_path):
    labels = {name: labels_of(name) for name in SIZES}
    arrays = {
        name: SplitArrays(
            logits=np.zeros((1, len(own), K), np.float32), labels=own, views=("clean",)
        )
        for name, own in labels.items()
    }
    write_splits(tmp_path / "n.h5", arrays, class_counts=COUNTS)
    options = ("--weights", "1,1", "-o", tmp_path / "c.h5")
    said = f"rows of {tmp_path / 'n.h5'} are taken in the order of {caches[0]}: it has no ids"
    assert said in run("combine", caches[0], tmp_path / "n.h5", *options).err
    assert said in run("combine", tmp_path / "n.h5", caches[0], *options, "--overwrite").err
    assert "are taken" not in run("combine", *caches, *options, "--overwrite").err


def other_ids(arrays):
    arrays["test"].ids[3] = "another"


def test_other_rows_are_refused(run, caches, tmp_path):
    labels = {name: labels_of(name) for name in SIZES}
    logits = {name: np.zeros((1, len(own), K), np.float32) for name, own in labels.items()}

    def refusal(change=None, **given):
        arrays = {
            name: SplitArrays(
                logits=logits[name],
                labels=labels[name].copy(),
                ids=[f"{name}/{row}" for row in range(len(labels[name]))],
                views=("clean",),
            )
            for name in SIZES
        }
        if change is not None:
            change(arrays)
        head = Head(weight_norm=np.ones(K))
        plain = {"class_counts": COUNTS, "head": head, "class_names": list("abcde")}
        path = tmp_path / "other.h5"
        write_splits(path, arrays, overwrite=True, **{**plain, **given})
        done = run("combine", caches[0], path, "--weights", "1,1", "-o", tmp_path / "c.h5")
        assert done.code == 3, done.err
        assert str(path) in done.error
        return done.error

    assert "the id test/3 in row 3 expected" in refusal(other_ids)
    assert "(1 rows differ)" in refusal(other_ids)
    assert "class 0 called 'a' expected" in refusal(class_names=list("bacde"))
    assert "the splits train, tune, test expected" in refusal(lambda arrays: arrays.pop("tune"))
    assert "the training images of each class expected" in refusal(class_counts=COUNTS + 1)
    labels["test"][5] = (labels["test"][5] + 1) % K
    assert "in row 5 expected" in refusal()
    labels["test"], logits["test"] = labels["test"][:-1], logits["test"][:, :-1]
    assert "split test: 60 rows expected, as in" in refusal()


def test_features_alone_are_told_what_is_missing(run, caches, tmp_path):
    labels = {name: labels_of(name) for name in SIZES}
    arrays = {
        name: SplitArrays(logits=None, labels=own, features=np.ones((1, len(own), 3), np.float32))
        for name, own in labels.items()
    }
    write_splits(tmp_path / "f.h5", arrays, class_counts=COUNTS, head=None)
    done = run("combine", caches[0], tmp_path / "f.h5", "--weights", "1,1", "-o", tmp_path / "c.h5")
    assert done.code == 3
    assert "logits to add expected, got features alone; fit a head" in done.error


def test_views_that_are_drawn_alike_are_added_and_others_left_out(run, tmp_path):
    views = ("clean", "augmented")
    alike = [write(tmp_path / f"{seed}.h5", seed=seed, views=views) for seed in (1, 2)]
    assert run("combine", *alike, "--weights", "1,1", "-o", tmp_path / "c.h5").code == 0
    both = open_cache(tmp_path / "c.h5").split("train")
    assert both.views == views
    expected = sum(of_uniform(path, "train") for path in alike)
    np.testing.assert_allclose(both.logits, expected, rtol=1e-6, atol=1e-5)

    def seeded(seed):
        drawn = {"train": {"augmentation": "crop", "seed": seed, "draws": "philox"}}
        path = tmp_path / f"seed{seed}.h5"
        return write(path, seed=seed, views=views, meta={"transforms": drawn})

    done = run("combine", seeded(4), seeded(5), "--weights", "1,1", "-o", tmp_path / "d.h5")
    assert done.code == 0, done.err
    assert "train: the clean view alone is added" in done.err
    clean = open_cache(tmp_path / "d.h5").split("train")
    assert clean.views == ("clean",)
    expected = sum(of_uniform(tmp_path / f"seed{seed}.h5", "train")[:1] for seed in (4, 5))
    np.testing.assert_allclose(clean.logits, expected, rtol=1e-6, atol=1e-5)


def test_the_python_face_and_a_process_of_its_own_agree(warm, caches, tmp_path):
    done = combine(caches, tmp_path / "a_b.h5")
    document = warm.run("combine", *caches, "--json", "-o", tmp_path / "again.h5").document
    assert document["weights"] == pytest.approx(list(done.weights), rel=1e-12)
    assert document["fingerprint"] == done.fingerprint
    one, two = open_cache(tmp_path / "a_b.h5"), open_cache(tmp_path / "again.h5")
    np.testing.assert_array_equal(one.split("test").logits, two.split("test").logits)
