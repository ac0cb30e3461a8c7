"""`pipeline compare`: numbers, formats, seeds and refusals."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from marr_pipeline.cache import open_cache
from marr_pipeline.errors import FitError
from marr_pipeline.groups import shot_groups
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.workflows.cached import closed_form, evaluation_rows
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


def test_the_baselines_come_first_whatever_is_asked_for(run, digits_cache):
    done = run("compare", digits_cache, *QUICK, "--json")
    assert done.code == 0
    assert list(done.document["methods"]) == KEYS
    assert done.document["schema_version"] == 1
    assert done.document["skipped"] == {}


def test_the_metrics_are_those_of_evaluate_and_rectify(run, digits_cache, document):
    evaluated = run("evaluate", digits_cache, "--json").document["methods"]
    for name in ("softmax", "logit-adjustment"):
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


def test_p_is_mcnemars_on_the_predictions(digits_cache, document):
    cached = open_cache(digits_cache)
    rows = evaluation_rows(cached, "test")
    right = []
    for name in ("logit-adjustment", "softmax"):
        scores = rows.scores(closed_form(cached, name))
        right.append(scores.predicted == scores.labels)
    won, lost = (right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()
    found = document["methods"]["logit-adjustment"]["vs_softmax"]
    assert found["p"] == pytest.approx(binomtest(won, won + lost).pvalue)
    assert found["difference"] == pytest.approx((won - lost) / len(right[0]))
    assert document["test"] == "mcnemar-exact"


def test_intervals_surround_their_values(document):
    for record in document["methods"].values():
        assert record["intervals"]["worst_class"] is None
        for name, interval in record["intervals"].items():
            assert interval is None or interval[0] <= record[name] <= interval[1]


def test_priors_move_what_they_should(run, digits_cache, tmp_path):
    (tmp_path / "q.txt").write_text("1 1 1 1 1 1 1 1 1 1")
    asked = ("uniform", "train", "backward", str(tmp_path / "q.txt"))
    found = {
        prior: run("compare", digits_cache, *QUICK, UNDER, prior, "--json").document
        for prior in asked
    }
    softmax = {prior: one["methods"]["softmax"] for prior, one in found.items()}
    assert softmax["train"]["overall"] > softmax["uniform"]["overall"]
    assert softmax["uniform"]["overall"] > softmax["backward"]["overall"]
    assert softmax[asked[3]] == softmax["uniform"] | {"seconds": softmax[asked[3]]["seconds"]}
    assert len({one["few"] for one in softmax.values()}) == 1
    assert found["train"]["test"] == "mcnemar-weighted"


def test_a_prior_on_classes_that_the_split_lacks_warns(run, imported):
    cache = imported("absent", num_test=(40, 30, 0, 20, 10))
    done = run("compare", cache, *QUICK, UNDER, "uniform", "--json")
    assert done.code == 0
    assert "1 of its classes have no sample in the split, 20.0% of its weight" in done.err
    assert done.document["methods"]["marr"]["per_class"][2] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "10 numbers expected, one a class in class order, got an array (3,)"),
        ("1 " * 9 + "-1", "numbers of at least 0, not all of them 0, expected, got -1.0"),
        ("0 " * 10, "got zeros alone; give every class a weight"),
    ],
)
def test_priors_that_fit_no_cache_are_refused(run, digits_cache, tmp_path, text, message):
    (tmp_path / "q.txt").write_text(text)
    done = run("compare", digits_cache, *QUICK, UNDER, tmp_path / "q.txt")
    assert done.code == 3
    assert message in done.error


def test_the_seed_decides_the_intervals(run, digits_cache):
    intervals = [
        run("compare", digits_cache, *QUICK, "--seed", seed, "--json").document["methods"]["marr"]
        for seed in (0, 0, 1)
    ]
    assert intervals[0]["intervals"] == intervals[1]["intervals"] != intervals[2]["intervals"]


def test_a_cache_of_logits_alone_does_without_the_methods_that_need_more(run, imported):
    cache = imported()
    done = run("compare", cache, "--resamples", "100", "--json")
    assert done.code == 0
    assert "disalign" in done.document["skipped"]
    assert not set(done.document["skipped"]) & set(done.document["methods"])
    assert re.search(f"without disalign: it needs features.*, which {cache} lack", done.err)
    named = run("compare", cache, "--methods", "disalign")
    assert named.code == 3
    assert "expected for disalign, got a cache without" in named.error


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--methods", "margin"], 2, "expected, got margin"),
        (["--methods", "marr:best"], 2, "expected, got marr:best"),
        (["--split", "tune"], 3, "has no split 'tune'; it has train, test"),
        (["--resamples", "10"], 2, "10 is not in the range x>=100"),
        (
            [UNDER, "reversed"],
            2,
            "uniform, train, backward or a file expected, got reversed",
        ),
        (["--prior", "uniform"], 2, "--prior: --class-distribution expected, its name now"),
        (["-o", "table.pdf"], 2, "a name ending in .txt or .md or .tex or .csv expected"),
        (["-o", "missing/table.md"], 1, "a file in a writable folder"),
    ],
)
def test_refusals(run, digits_cache, options, code, message):
    done = run("compare", digits_cache, *options)
    assert done.code == code
    assert message in done.err
    assert done.out == ""


def test_caches_that_differ_in_their_seeds_have_a_mean_and_a_deviation(run, imported):
    caches = [imported(f"seed{seed}", seed=seed) for seed in (0, 1, 2)]
    done = run("compare", *caches, "--methods", "marr", "--json")
    assert done.code == 0, done.err
    alone = [
        run("compare", cache, "--methods", "marr", "--json").document["methods"]["marr"]
        for cache in caches
    ]
    record = done.document["methods"]["marr"]
    accuracy = [one["overall"] for one in alone]
    assert record["overall"] == pytest.approx(np.mean(accuracy))
    assert record["std"]["overall"] == pytest.approx(np.std(accuracy, ddof=1))
    gains = [one["vs_softmax"]["difference"] for one in alone]
    assert record["vs_softmax"]["difference"] == pytest.approx(np.mean(gains))
    assert record["std"]["vs_softmax"] == pytest.approx(np.std(gains, ddof=1))
    assert record["interval"] is done.document["resamples"] is done.document["test"] is None
    shown = run("compare", *caches, "--methods", "marr").out
    assert "± standard deviation over 3 caches" in shown
    assert re.search(r"^marr +\d+\.\d ± \d+\.\d ", shown, re.MULTILINE)
    assert "*" not in shown


def test_caches_that_are_no_seeds_of_one_experiment_are_refused(run, imported, tmp_path):
    cache = imported("first")
    copy = shutil.copy(cache, tmp_path / "copy.h5")
    twice = run("compare", cache, copy)
    assert twice.code == 2
    assert f"{copy}: a cache of its own expected, got the contents of {cache} again" in twice.error
    fewer = imported("fewer", counts=(300, 150, 60, 30), num_test=(40, 30, 30, 20))
    other = run("compare", cache, fewer)
    assert other.code == 3
    assert f"5 classes expected as in {cache}, got 4; only caches of one experiment" in other.error
    flatter = run("compare", cache, imported("flatter", counts=(100, 100, 60, 30, 10)))
    assert flatter.code == 3
    assert f"the training counts of {cache} expected, got others" in flatter.error


def test_every_format_goes_to_a_file_or_to_stdout(run, digits_cache, tmp_path):
    written = run("compare", digits_cache, *QUICK, "-o", tmp_path / "table.md")
    assert written.code == 0
    assert written.out.splitlines()[1].startswith("softmax ")
    shown = run("compare", digits_cache, *QUICK, "--format", "markdown").out
    costs = re.compile(r"\d+\.\d\d \|")  # seconds are another each time
    assert costs.sub("", shown) == costs.sub("", (tmp_path / "table.md").read_text())
    assert r"\toprule" in run("compare", digits_cache, *QUICK, "--format", "latex").out
    text = run("compare", digits_cache, *QUICK, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == KEYS
    assert float(rows[3]["vs_softmax_low"]) <= float(rows[3]["vs_softmax"])


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


def test_a_fit_without_a_minimum_is_a_marked_row(run, tmp_path):
    """On rows that every class separates an unweighted fit without a pull has none."""
    labels, generator = np.repeat(np.arange(3), [30, 12, 6]), np.random.default_rng(0)
    logits = 9 * np.eye(3)[labels] + generator.normal(size=(len(labels), 3))
    np.savez(tmp_path / "rows.npz", logits=logits.astype(np.float32), labels=labels)
    rows, cache = tmp_path / "rows.npz", tmp_path / "own.h5"
    assert run("import", "--train", rows, "--test", rows, "-o", cache).code == 0
    methods = ("--methods", "vector-scaling,marr", "--resamples", 100)
    found = run("compare", cache, *methods, "--json").document["methods"]
    assert (found["vector-scaling"]["status"], found["marr"]["status"]) == (
        "unbounded",
        "converged",
    )
    shown = run("compare", cache, *methods)
    assert shown.code == 0
    assert re.search("^vector-scaling .*unbounded", shown.out, re.MULTILINE)


def test_a_cache_without_augmented_views_is_said(run, digits_cache, tmp_path):
    cache = tmp_path / "clean.h5"
    checkpoint = digits_cache.with_suffix(".pt")
    options = ["--dataset", "digits-lt", "--checkpoint", checkpoint, "--views", 0, "-o", cache]
    assert run("extract", *options).code == 0
    done = run("compare", cache, "--methods", "marr,lws", "--resamples", 100, "--json")
    assert done.code == 0
    said = [text for text in done.document["warnings"] if "no augmented view" in text]
    assert said == [f"{cache}: split train has no augmented view, its clean one is fitted"]
