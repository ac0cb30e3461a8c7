import re

import numpy as np
import pytest

from marr_pipeline import names
from marr_pipeline.cache import open_cache
from marr_pipeline.cli import COMMANDS

DIGITS = ("--dataset", "digits-lt")


def test_every_command_has_help(run):
    for name in COMMANDS:
        done = run(name, "--help")
        assert done.code == 0
        assert done.out.startswith("Usage: pipeline")


def test_help_is_in_the_order_of_a_first_use(run):
    listed = re.findall(r"^  (\w[\w-]*)  ", run("--help").out, re.MULTILINE)
    assert listed == list(COMMANDS)


def test_version(run):
    assert run("--version").out.startswith("pipeline, version ")


def test_cached_logits_are_the_head_on_the_cached_features(digits_cache):
    cached = open_cache(digits_cache)
    split = cached.split("train")
    again = split.features @ cached.head.weight.T + cached.head.bias
    np.testing.assert_allclose(split.logits, again, rtol=1e-5, atol=1e-5)


def test_extract_again_is_already_done(run, digits_cache):
    options = ["--iterations", "60", "--batch-size", "64", "-o", digits_cache]
    before = digits_cache.stat().st_mtime_ns
    done = run("extract", *DIGITS, "--views", "2", *options, "--json")
    assert done.code == 0
    assert done.document["written"] is False
    assert digits_cache.stat().st_mtime_ns == before


@pytest.fixture
def extract(run, digits_cache, tmp_path):
    """Extract from the checkpoint of `digits_cache` anew."""

    def from_checkpoint(*options):
        arguments = (*DIGITS, "--checkpoint", digits_cache.with_suffix(".pt"), *options)
        assert run("extract", *arguments, "-o", tmp_path / "again.h5").code == 0
        return open_cache(tmp_path / "again.h5")

    return from_checkpoint


def test_extract_from_a_checkpoint_gives_the_same_rows(extract, digits_cache):
    ours, theirs = open_cache(digits_cache), extract("--views", "2")
    assert ours.fingerprint == theirs.fingerprint
    for split in ("train", "test"):
        assert np.array_equal(ours.split(split).logits, theirs.split(split).logits)


def test_batch_statistics_are_recorded_and_make_another_cache(extract, digits_cache):
    ours, theirs = extract("--views", "2", "--bn", "train"), open_cache(digits_cache)
    transforms = [cached.meta("transforms")["train"]["batch_norm"] for cached in (ours, theirs)]
    assert transforms == ["train", "eval"]
    assert ours.fingerprint != theirs.fingerprint
    assert ours.head_fingerprint == theirs.head_fingerprint
    test, train = ours.split("test"), ours.split("train")
    np.testing.assert_array_equal(test.logits, theirs.split("test").logits)
    # Row by row beside the other cache, whose order is the data's.
    order = [ours.meta("indices")["train"].index(row) for row in theirs.meta("indices")["train"]]
    np.testing.assert_array_equal(train.labels[order], theirs.split("train").labels)
    moved = np.abs(train.logits[:, order] - theirs.split("train").logits)
    assert 0.01 < np.median(moved) < 0.5


@pytest.mark.parametrize("store", names.STORES)
def test_what_is_stored_serves_a_fit(run, extract, store):
    cached = extract("--views", "0", "--store", store)
    split = cached.split("train")
    assert (split.logits is not None, split.features is not None) == (
        store != "features",
        store != "logits",
    )
    done = run("rectify", cached.path, "--json")
    assert done.code == 0
    assert any("no augmented view" in text for text in done.document["warnings"])
    assert run("evaluate", cached.path).code == 0


@pytest.mark.parametrize("command", ["train", "extract"])
def test_dry_run_resolves_everything_and_writes_nothing(run, tmp_path, command):
    output = tmp_path / {"train": "net.pt", "extract": "cache.h5"}[command]
    done = run(command, *DIGITS, "--dry-run", "--json", "-o", output)
    assert done.code == 0
    document = done.document
    assert document["class_counts"][3] == 143
    assert document["splits"] == {"train": 482, "test": 400}
    assert document["recipe"]["iterations"] == 300
    assert document["bytes"] > 0
    assert document["seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_train_then_extract_with_a_held_out_split(run, tmp_path):
    net, cache = tmp_path / "net.pt", tmp_path / "cache.h5"
    options = ["--iterations", "5", "--batch-size", "32", "--tune-fraction", "0.2"]
    done = run("train", *DIGITS, *options, "-o", net, "--json")
    assert done.code == 0
    assert done.document["iterations"] == 5
    options = ["--checkpoint", net, "--views", "1", "-o", cache]
    assert run("extract", *DIGITS, *options).code == 0
    cached = open_cache(cache)
    assert tuple(cached.splits) == ("train", "tune", "test")
    indices = cached.meta("indices")
    assert not set(indices["train"]) & set(indices["tune"])
    assert run("evaluate", cache, "--split", "tune").code == 0


def test_the_weights_that_did_best_on_tune_are_kept_and_extracted(run, tmp_path):
    net, cache = tmp_path / "a.pt", tmp_path / "a.h5"
    options = ("--iterations", "18", "--batch-size", "64", "--tune-fraction", "0.2")
    done = run("train", *DIGITS, *options, "--select-on", "tune", "-o", net, "--json")
    assert done.code == 0, done.err
    selected = done.document["selected"]
    assert selected["step"] in (7, 14, 18)
    assert 0 < selected["balanced_accuracy"] <= 1
    assert f"kept: the weights of step {selected['step']}, balanced accuracy" in done.err
    arguments = ("extract", *DIGITS, "--checkpoint", net, "--views", "0", "-o", cache)
    refused = run(*arguments, "--select-on", "last")
    assert refused.code == 3
    assert "--select-on: tune expected, with which" in refused.error
    assert run(*arguments).code == 0
    assert open_cache(cache).meta("config")["select_on"] == "tune"
