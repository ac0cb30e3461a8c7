"""Which caches may be averaged, and what is said of those that differ in more than their seed."""

import re

import numpy as np
import pytest
from caches import write_splits

from marr_pipeline.cache import Head, SplitArrays, open_cache
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.workflows.alike import check_seeds
from marr_pipeline.workflows.checks import differing_runs
from marr_pipeline.workflows.compare import compare

CONFIG = {"seed": 0, "dataset": {"data_seed": 0}, "recipe": {"weight_decay": 5e-4}}


@pytest.fixture
def make_cache(tmp_path):
    def make(name, *, seed=0, counts=(6, 3), class_names=("cat", "dog"), config=CONFIG, width=4):
        labels = np.repeat(np.arange(len(counts)), counts)
        logits = np.random.default_rng(seed).normal(size=(1, len(labels), len(counts)))
        path = tmp_path / name
        write_splits(
            path,
            {"train": SplitArrays(logits=logits.astype(np.float32), labels=labels)},
            head=Head.from_linear(np.ones((len(counts), width)), None),
            class_counts=np.array(counts),
            class_names=class_names,
            parts={"seed": seed, "name": name},
            meta={} if config is None else {"config": config},
        )
        return open_cache(path)

    return make


def test_seeds_of_one_experiment_pass_without_a_word(make_cache):
    second = {**CONFIG, "seed": 1, "dataset": {"data_seed": 7}}
    caches = [make_cache("a.h5"), make_cache("b.h5", seed=1, config=second)]
    assert check_seeds(caches) == []
    assert differing_runs(caches) is None


def test_another_recipe_is_named(make_cache):
    second = {**CONFIG, "seed": 1, "recipe": {"weight_decay": 1e-4}}
    caches = [make_cache("a.h5"), make_cache("b.h5", seed=1, config=second)]
    assert check_seeds(caches) == []
    found = differing_runs(caches)
    assert re.search(r"differs in more than its seed: \S+b.h5 from \S+a.h5 \(", found.sentence)
    assert "config.recipe.weight_decay: 0.0005 -> 0.0001" in found.sentence


def test_what_differs_is_said_before_the_first_fit(make_cache, monkeypatch):
    def stop(*given, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("marr_pipeline.workflows.fits.fit_rectifier", stop)
    second = {**CONFIG, "recipe": {"weight_decay": 1e-4}}
    caches = [make_cache("a.h5"), make_cache("b.h5", seed=1, config=second)]
    said = []
    with pytest.raises(KeyboardInterrupt):
        compare(caches, methods=["marr"], split="train", say=said.append)
    assert said == [str(differing_runs(caches))]


def test_networks_trained_elsewhere_are_by_no_known_method(make_cache):
    foreign = {**CONFIG, "checkpoint": {"origin": "foreign checkpoint"}}
    by = {"method": {"name": "cbs", "options": {}}}
    caches = [make_cache("a.h5", config=foreign), make_cache("b.h5", seed=1, config=CONFIG | by)]
    assert "config.method.name: added" in differing_runs(caches).sentence


def test_of_imported_caches_nothing_tells_that_only_seeds_differ(make_cache):
    caches = [make_cache("a.h5"), make_cache("b.h5", seed=1, config=None)]
    (warning,) = check_seeds(caches)
    assert re.search(r"b.h5 without a record of the network: that \S+ .* taken on trust", warning)


def test_networks_of_other_widths_without_a_record_are_named(make_cache):
    caches = [make_cache("a.h5", width=8), make_cache("b.h5", seed=1, config=None, width=16)]
    (warning,) = check_seeds(caches)
    assert "their features differ in width (8 and 16)" in warning


def test_the_same_contents_are_no_second_seed(make_cache):
    cache = make_cache("a.h5")
    with pytest.raises(ConfigError, match="a cache of its own expected, got the contents of"):
        check_seeds([cache, cache])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": (6, 3, 1), "class_names": None}, "2 classes expected as in .*, got 3"),
        ({"class_names": ("dog", "cat")}, "the class names of .* expected, got others"),
        ({"counts": (6, 4)}, "the training counts of .* expected, got others"),
        (
            {"config": {"method": {"name": "cbs", "options": {}}}},
            "a network trained by softmax expected as in .*, got cbs",
        ),
    ],
)
def test_other_classes_or_counts_are_refused(make_cache, changes, message):
    with pytest.raises(DataError, match=rf"b.h5: {message}; only caches of one experiment"):
        check_seeds([make_cache("a.h5"), make_cache("b.h5", seed=1, **changes)])
