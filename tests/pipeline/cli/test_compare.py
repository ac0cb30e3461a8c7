"""`pipeline compare`: numbers, formats, seeds and refusals."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from marr_pipeline.cache import open_cache
from marr_pipeline.errors import FitError
from marr_pipeline.groups import parse_cuts, shot_groups
from marr_pipeline.names import COMPARED, REFERENCES
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.workflows.compare import compare

QUICK = ("--methods", "temperature,marr,marr:paper", "--resamples", "200")
UNDER = "--class-distribution"
KEYS = ["softmax", "logit-adjustment", "temperature", "marr", "marr:paper"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Arrays for `import`, by seed and with changes: 5 classes, a long tail of training rows."""

    def write(name, *, seed=0, counts=(300, 150, 60, 30, 10), num_test=(40, 30, 30, 20, 10)):
        folder = tmp_path_factory.mktemp(name)
        generator = np.random.default_rng(seed)
        for split, sizes in (("train", counts), ("test", num_test)):
            labels = np.repeat(np.arange(len(sizes)), sizes)
            logits = generator.normal(size=(len(labels), len(counts)))
            logits[np.arange(len(labels)), labels] += 1.5
            logits += np.log(counts)
            np.savez(folder / f"{split}.npz", logits=logits.astype(np.float32), labels=labels)
        return folder

    return write


@pytest.fixture
def imported(run, archive):
    """A cache of made-up logits without head and features."""

    def make(name="seed0", **changes):
        folder = archive(name, **changes)
        cache = folder / f"{name}.h5"
        done = run(
            "import", "--train", folder / "train.npz", "--test", folder / "test.npz", "-o", cache
        )
        assert done.code == 0, done.err
        return cache

    return make


@pytest.fixture(scope="module")
def document(digits_cache):
    """The JSON of one comparison, shared by the tests that only read it."""
    return compare([digits_cache], methods=KEYS, resamples=200).document()


def test_the_metrics_are_those_of_evaluate_and_rectify(run, digits_cache, document):
    evaluated = run("evaluate", digits_cache, "--json").document["methods"]
    for name in ("softmax", "logit-adjustment"):
        evaluated[name].pop("prior")
        assert evaluated[name].items() <= run_like(document["methods"][name]).items()
    fitted = run("rectify", digits_cache, "--preset", "paper", "--json").document
    assert fitted["metrics"]["after"].items() <= run_like(document["methods"]["marr:paper"]).items()
    assert document["methods"]["marr:paper"]["parameters"] == 20
    assert document["methods"]["softmax"]["parameters"] == 0


def run_like(record):
    """A record as it comes out of `--json`, where what is not finite is null."""
    text = json.dumps(record).replace("NaN", "null")
    return json.loads(text)


def test_overall_is_the_size_weighted_mean_of_groups_under_a_uniform_prior(run, digits_cache):
    """The identity of the paper's tables, on ours."""
    groups = shot_groups(open_cache(digits_cache).class_counts)
    found = run("compare", digits_cache, *QUICK, UNDER, "uniform", "--json").document
    for record in found["methods"].values():
        total = sum(
            members.sum() * record[name] for name, members in groups.items() if members.any()
        )
        assert record["overall"] == pytest.approx(total / 10)


def test_a_cache_of_logits_alone_does_without_the_methods_that_need_more(run, imported):
    cache = imported()
    usual = run("compare", cache, "--resamples", "100", "--json")
    assert set(usual.document["methods"]) == {*REFERENCES, *COMPARED} - {"crt", "head"}
    assert set(usual.document["skipped"]) == {"crt", "head"}
    done = run("compare", cache, "--all", "--resamples", "100", "--json")
    assert done.code == 0
    assert set(usual.document["methods"]) < set(done.document["methods"])
    assert "disalign" in done.document["skipped"]
    assert not set(done.document["skipped"]) & set(done.document["methods"])
    assert re.search(f"without disalign: it needs features.*, which {cache} lack", done.err)
    named = run("compare", cache, "--methods", "disalign")
    assert named.code == 3
    assert "expected for disalign, got a cache without" in named.error
    assert run("compare", cache, "--all", "--methods", "marr").code == 2


def test_the_terminal_tables_are_narrow_enough_to_read(run, digits_cache):
    done = run("compare", digits_cache, *QUICK)
    assert max(map(len, done.out.splitlines())) <= 120
    assert done.out.count("\nmarr:paper ") == 2


def test_a_fit_that_comes_to_nothing_leaves_the_others(run, imported, monkeypatch):
    def diverging(inputs, settings, context):
        raise FitError("fit: a finite loss expected, got nan")

    monkeypatch.setitem(METHODS, "temperature", replace(METHODS["temperature"], fit=diverging))
    cache = imported()
    done = run("compare", cache, *QUICK, "--json")
    assert done.code == 0
    assert f"warning: without temperature: {cache}: fit: a finite loss expected" in done.err
    document = done.document
    assert list(document["methods"]) == [key for key in KEYS if key != "temperature"]
    assert list(document["failed"]) == ["temperature"]


def test_a_cache_without_augmented_views_is_said(run, digits_cache, tmp_path):
    cache = tmp_path / "clean.h5"
    checkpoint = digits_cache.with_suffix(".pt")
    options = ["--dataset", "digits-lt", "--checkpoint", checkpoint, "--views", 0, "-o", cache]
    assert run("extract", *options).code == 0
    done = run("compare", cache, "--methods", "marr,lws", "--resamples", 100, "--json")
    assert done.code == 0
    said = [text for text in done.document["warnings"] if "no augmented view" in text]
    assert said == [f"{cache}: split train has no augmented view, its clean one is fitted"]


def test_a_file_of_a_fit_stands_as_the_fit_does(run, digits_cache, digits_rectifier, tmp_path):
    """Recognised by its content; where a method has its key, under its whole name."""
    mine = tmp_path / "mine.fit"
    mine.write_bytes(digits_rectifier.read_bytes())
    options = ("--methods", "marr", "--resamples", 100, "--json")
    found = run("compare", mine, digits_cache, digits_rectifier, *options).document["methods"]
    assert list(found) == ["softmax", "logit-adjustment", "marr", "mine", "marr.safetensors"]
    for key in ("mine", "marr.safetensors"):
        assert {**found[key], "seconds": 0} == {**found["marr"], "seconds": 0}
        assert found[key]["vs_softmax"]["p_holm"] >= found[key]["vs_softmax"]["p"]
    twice = run("compare", digits_cache, mine, mine, *options)
    assert (twice.code, twice.out) == (2, "")
    assert "mine.fit: a file stem of its own expected, got a second mine" in twice.error
    alone = run("compare", digits_rectifier, *options)
    assert alone.code == 2
    assert "a cache beside" in alone.error


def test_a_file_of_another_head_is_refused_before_the_first_fit(run, imported, digits_rectifier):
    done = run("compare", imported(), digits_rectifier)
    assert (done.code, done.out) == (3, "")
    assert f"{digits_rectifier}: a rectifier of 5 classes expected" in done.error
    ten = imported("ten", counts=(80, 60, 50, 40, 30, 20, 15, 10, 8, 5), num_test=(12,) * 10)
    done = run("compare", ten, digits_rectifier, *QUICK)
    assert (done.code, done.out) == (3, "")
    assert "a rectifier of this cache's head" in done.error
    assert "comparing" not in done.err
    taken = run("compare", ten, digits_rectifier, *QUICK, "--any-head", "--json").document
    assert "marr.safetensors" in taken["methods"]


def test_a_table_for_a_paper(run, imported, tmp_path):
    cache, table = imported(), tmp_path / "table.tex"
    layout = ("--columns", "few,vs_softmax", "--no-intervals", "--label", "tab:tail")
    done = run("compare", cache, *QUICK, *layout, "-o", table)
    assert done.code == 0
    text = table.read_text(encoding="utf-8")
    assert text.count("\\label{tab:tail}") == text.count("\\begin{tabular}{lrr}") == 1
    assert "MARR (paper) & " in text
    assert "[" not in text + done.out
    assert done.out.split()[:2] == ["few", "vs"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--columns", "speed"), "names out of overall, balanced"),
        (("--caption", "Mine"), "caption: of one table expected"),
        (("--columns", "nll", "--label", "tab:x"), "--label: --format latex expected"),
        (("--columns", "nll", "--label", "a b", "-o", "x.tex"), "label: a name such as"),
    ],
)
def test_a_layout_is_refused_before_the_first_fit(run, imported, options, said):
    done = run("compare", imported(), "--methods", "marr", *options)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "comparing" not in done.err


def test_groups_are_those_asked_for(run, digits_cache, tmp_path):
    counts = open_cache(digits_cache).class_counts
    few = shot_groups(counts, parse_cuts("auto", counts))["few"]
    for command in (("compare", "--methods", "softmax"), ("evaluate",)):
        done = run(*command, digits_cache, "--groups", "auto", "--json")
        row = done.document["methods"]["softmax"]
        assert row["few"] == pytest.approx(np.mean(np.array(row["per_class"])[few]))
    refused = run("rectify", digits_cache, "--groups", "20,100")
    assert refused.code == 2
    assert "groups: the larger number first expected, got 20,100" in refused.error
