"""Every script of benchmarks/ runs at a tiny size and keeps its record."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from marr_pipeline.cache import open_cache
from marr_pipeline.workflows.import_logits import import_logits

FOLDER = Path(__file__).parents[1] / "benchmarks"
ROWS = ["--samples", "300", "--classes", "5", "--features", "4"]
SCRIPTS = {
    "passes": [*ROWS, "--repeat", "1"],
    "fits": [*ROWS, "--repeat", "1"],
    "heads": [*ROWS, "--repeat", "1", "--l2", "0.1"],
    "scaling": [*ROWS, "--repeat", "1"],
    "precision": ROWS,
    "files": [*ROWS, "--repeat", "1", "--memory", "64M", "--batches", "1"],
    "commands": [*ROWS, "--repeat", "1", "--commands", "rectify"],
    "opening": [*ROWS, "--repeat", "1"],
    "extraction": ["--repeat", "1"],
    "training": [
        *("--images", "40", "--backbone", "resnet8", "--batch-size", "8"),
        *("--steps", "2", "--repeat", "1"),
    ],
}


@pytest.fixture
def run_script(warm):
    """Run a script in a process of its own, which must end with this code."""

    def run_to_its_end(name, *arguments, code=0):
        done = warm.run(*arguments, script=FOLDER / f"{name}.py")
        assert done.code == code, done.err
        return done

    return run_to_its_end


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_and_keeps_what_it_measured(run_script, name, tmp_path):
    record = tmp_path / "record.json"

    done = run_script(name, *SCRIPTS[name], "-o", record)
    document = json.loads(record.read_text())
    assert document["benchmark"] == name
    assert document["command"].startswith(f"python benchmarks/{name}.py")
    assert document["machine"]["torch"]
    assert all(min(ratio.values()) > 0 for ratio in document["ratios"].values())
    assert all(name in done.out for name in document["seconds"])
    # Fits of ours are certified, and no rival goes below the least value.
    assert all(bound <= 1e-6 for bound in document.get("gap_bound", {}).values())
    assert all(excess > -1e-9 for excess in document.get("excess", {}).values())


def test_methods_are_compared_on_the_same_images(run_script, digits_cache, tmp_path):
    record = tmp_path / "record.json"
    done = run_script("methods", digits_cache, "-o", record)
    methods = json.loads(record.read_text())["methods"]
    assert set(methods) == {"softmax", "logit-adjustment", "softmax + marr"}
    assert all(f"| {method} |" in done.out for method in methods)
    assert methods["softmax + marr"]["vs_softmax"]["p_holm"] <= 1


def test_an_ablation_sets_each_row_against_its_base(run_script, digits_cache, tmp_path):
    record = tmp_path / "record.json"
    options = ["--resamples", 100, "-o", record]
    done = run_script("ablations", "views", digits_cache, *options)
    (found,) = json.loads(record.read_text())["caches"].values()
    rows = found["rows"]
    assert all(f"| {name} |" in done.out for name in rows)
    assert [row["views"] for name, row in rows.items() if name.startswith("paper, gamma")] == [
        *(2, 1, 1, 2)
    ]
    base, clean = rows["paper, all views"], rows["paper, clean"]
    assert base["vs_base"] is None
    assert clean["vs_base"]["difference"] == clean["overall"] - base["overall"]
    assert clean["settings"] == {**base["settings"], "fit_views": "clean"}
    assert rows["paper, 2 augmented"]["nll"] == base["nll"] != rows["paper, 1 augmented"]["nll"]


def test_a_record_keeps_what_it_has_and_names_all_its_caches(
    run_script, digits_cache, run, tmp_path
):
    other, record = tmp_path / "other.h5", tmp_path / "record.json"
    made = ["--imbalance-ratio", 10, "--iterations", 5, "--batch-size", 32, "--views", 1]
    assert run("extract", "--dataset", "digits-lt", *made, "-o", other).code == 0
    options = ["--row", "paper, gamma 1.0", "--resamples", 100, "-o", record]
    run_script("ablations", "gamma", digits_cache, *options)
    before = json.loads(record.read_text())
    for found in before["caches"].values():
        found["is kept"] = True
    record.write_text(json.dumps(before))

    run_script("ablations", "gamma", other, digits_cache, *options)

    after = json.loads(record.read_text())
    assert ["is kept" in found for found in after["caches"].values()] == [False, True]
    caches = f"other.h5 {digits_cache.name}"
    assert f"ablations.py gamma {caches} --row 'paper, gamma 1.0'" in after["command"]


def test_the_best_epoch_on_test_is_a_leak_that_says_so(run_script, digits_cache, tmp_path):
    record = tmp_path / "record.json"
    row = "gamma 1.2, seed 0, best on test"
    options = ["--row", row, "--resamples", 100, "-o", record]
    done = run_script("ablations", "selection", digits_cache, *options)
    assert done.out.count("chosen on test") == 1
    document = json.loads(record.read_text())
    (found,) = document["caches"].values()
    leak, last = found["rows"][row], found["rows"]["gamma 1.2, seed 0, last"]
    assert leak["last"] == last["overall"] <= leak["overall"]
    assert leak["status"] == "chosen on test"
    assert 1 <= leak["epoch"] <= leak["epochs"]
    assert "the best epoch" in document["scored"]


def test_batch_statistics_are_set_beside_those_of_training(run_script, digits_cache, run, tmp_path):
    other, record = tmp_path / "train.h5", tmp_path / "record.json"
    made = ["--checkpoint", digits_cache.with_suffix(".pt"), "--views", 2, "--bn", "train"]
    assert run("extract", "--dataset", "digits-lt", *made, "-o", other).code == 0
    refused = run_script("ablations", "batch-norm", other, digits_cache, code=1)
    assert "by --bn eval and --bn train, got train and eval" in refused.err

    options = ["--row", "paper, train", "--resamples", 100, "-o", record]
    run_script("ablations", "batch-norm", digits_cache, other, *options)

    (found,) = json.loads(record.read_text())["caches"].values()
    assert found["other_fingerprint"] == open_cache(other).fingerprint
    assert found["rows"]["paper, train"]["loss"] != found["rows"]["paper, eval"]["loss"]


def test_choices_of_a_head_are_compared_on_the_same_rows(run_script, tmp_path):
    generator = np.random.default_rng(0)
    means = 2 * generator.normal(size=(4, 6))
    for split, sizes in (("train", (60, 30, 12, 4)), ("test", (20, 20, 20, 20))):
        labels = np.repeat(np.arange(4), sizes)
        features = means[labels] + generator.normal(size=(len(labels), 6))
        np.savez(tmp_path / f"{split}.npz", features=features, labels=labels)
    cache, record = tmp_path / "features.h5", tmp_path / "record.json"
    files = {split: tmp_path / f"{split}.npz" for split in ("train", "test")}
    import_logits(files, cache)
    done = run_script("head_choices", cache, "--resamples", 100, "-o", record)
    methods = json.loads(record.read_text())["methods"]
    assert {"softmax", "head", "ncm", "gda", "probe + marr, held out"} < set(methods)
    assert all(f"| {method} |" in done.out for method in methods)
    assert methods["head"]["chosen"]["center"] in ("zero", "class-means")


def test_sets_of_each_score_are_dealt_and_measured(run_script, digits_cache, tmp_path):
    record = tmp_path / "record.json"
    done = run_script("set_coverage", digits_cache, "--deals", 2, "-o", record)
    document = json.loads(record.read_text())
    for population in ("balanced", "long tail"):
        found = document["sets"][population]
        assert all(f"| {key} |" in done.out for key in found)
        assert 0.7 < found["prevalence, W 0"]["coverage"] <= 1
        assert found["softmax, W 1"]["mean_size"] >= found["softmax, W 0"]["mean_size"]


def test_an_unknown_prior_is_estimated_in_three_places(run_script, digits_cache, tmp_path):
    record = tmp_path / "record.json"
    done = run_script("unknown_prior", digits_cache, "--deals", 2, "--tune", 10, "-o", record)
    found = json.loads(record.read_text())["places"]
    assert all(f"| {name} |" in done.out for name in found)
    known = found["its own shares, known"]["backward"]["accuracy"]
    assert known > found["softmax"]["backward"]["accuracy"]
    estimates = [name for name in found if name.startswith("estimated")]
    assert len(estimates) == 3
    assert all(0 <= found[name]["uniform"]["away"] <= 1 for name in estimates)


def test_the_default_pull_is_scored_on_rows_of_each_kind(run_script, digits_cache, tmp_path):
    record = tmp_path / "record.json"
    done = run_script("strengths", digits_cache, "--limit", 2, "-o", record)
    problems = json.loads(record.read_text())["problems"]
    assert [problem["rows"] for problem in problems] == ["seen", "held-out"] * 2
    assert "| held-out rows | 2 | marr |" in done.out
    assert all(0 <= problem["marr"]["balanced"] <= 100 for problem in problems)


def test_a_cache_is_cut_to_its_logits(run_script, digits_cache, tmp_path):
    run_script("embedded_cache", digits_cache, "-o", tmp_path / "cut.h5")
    whole, cut = open_cache(digits_cache), open_cache(tmp_path / "cut.h5")
    assert cut.meta("cut")["cut_from"] == whole.fingerprint
    for name, split in whole.splits.items():
        assert cut.split(name).features is None
        np.testing.assert_array_equal(cut.split(name).logits, split.logits.astype(np.float16))


def test_what_makes_the_records_of_a_quiet_machine_knows_its_scripts(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    for name, line in importlib.import_module("records").RECORDS.items():
        script, *arguments = line.split()
        command = importlib.import_module(script).main
        assert command.make_context(script, arguments), name


def test_every_script_with_a_command_is_tried_and_listed():
    scripts = {path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text()}
    assert scripts == {
        *SCRIPTS,
        *("methods", "head_choices", "set_coverage", "strengths", "embedded_cache"),
        *("unknown_prior", "records", "ablations"),
    }
    readme = (FOLDER / "README.md").read_text()
    assert all(f"python benchmarks/{name}.py" in readme for name in scripts)
