import csv
import json
import re

import matplotlib.image
import numpy as np
import pytest

from marr_pipeline import names
from marr_pipeline.cache import open_cache
from marr_pipeline.cli import COMMANDS


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


def test_evaluate_names_rectifiers_by_their_stem(run, digits_cache, digits_rectifier):
    document = run("evaluate", digits_cache, digits_rectifier, "--json").document
    assert list(document["methods"]) == ["softmax", "logit-adjustment", "marr"]
    assert document["methods"]["marr"]["method"] == "marr"
    fitted = run("rectify", digits_cache, "--json").document["metrics"]
    for key, name in (("before", "softmax"), ("after", "marr")):
        measured = {k: v for k, v in document["methods"][name].items() if k != "method"}
        assert measured == fitted[key]


def test_evaluate_prints_a_table(run, digits_cache, digits_rectifier):
    lines = run("evaluate", digits_cache, digits_rectifier).out.splitlines()
    assert lines[0].split() == [
        *("overall", "many", "medium", "few", "macro-F1", "worst", "NLL", "ECE")
    ]
    assert [line.split()[0] for line in lines[1:]] == ["softmax", "logit-adjustment", "marr"]


def test_inspect_shows_what_is_inside(run, digits_cache):
    document = run("inspect", digits_cache, "--json").document
    cached = open_cache(digits_cache)
    assert document["class_counts"] == cached.class_counts.tolist()
    assert document["groups"] == {"many": 2, "medium": 4, "few": 4}
    assert document["splits"]["train"]["views"] == ["clean", "augmented", "augmented"]
    assert document["splits"]["test"]["views"] == ["clean"]
    assert document["fingerprint"] == cached.fingerprint
    assert document["documents"]["config"]["recipe"]["iterations"] == 60
    text = run("inspect", digits_cache).out
    assert "many 2, medium 4, few 4" in text
    assert "482 samples; 1 clean, 2 augmented views" in text


def test_cached_logits_are_the_head_on_the_cached_features(digits_cache):
    cached = open_cache(digits_cache)
    split = cached.split("train")
    again = split.features @ cached.head.weight.T + cached.head.bias
    np.testing.assert_allclose(split.logits, again, rtol=1e-5, atol=1e-5)


def test_cache_keeps_the_rows_that_were_drawn(digits_cache):
    indices = open_cache(digits_cache).meta("indices")
    assert len(set(indices["train"])) == 482
    assert not set(indices["train"]) & set(indices["test"])


@pytest.mark.parametrize("figure", names.FIGURES)
def test_figures_come_with_their_numbers(run, digits_cache, digits_rectifier, tmp_path, figure):
    picture = tmp_path / f"{figure}.png"
    done = run("plot", figure, digits_cache, digits_rectifier, "-o", picture)
    assert done.code == 0
    assert matplotlib.image.imread(picture).shape[1] > 1000
    with picture.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (200 if figure == "confusion" else 10)


def test_classwise_names_methods_and_presets_and_takes_a_column(
    run, digits_cache, digits_rectifier, tmp_path
):
    for stem in ("one", "two"):
        (tmp_path / f"{stem}.safetensors").write_bytes(digits_rectifier.read_bytes())
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    options = ["--width", "column", "-o", tmp_path / "figure.png"]
    both = {"one: marr (default)", "two: marr (default)"}
    for chosen, expected in ((files[:1], {"marr (default)"}), (files, both)):
        assert run("plot", "classwise", digits_cache, *chosen, *options).code == 0
        head = (tmp_path / "figure.csv").read_text().splitlines()[0]
        assert set(re.findall(r"([^,]+)\.f1", head)) == {"softmax", *expected}
    done = run("plot", "curves", digits_cache, *options)
    assert (done.code, done.out) == (2, "")
    assert "curves: a figure of both columns' width expected, got column" in done.err


def test_curves_show_the_accuracies_of_evaluate(run, digits_cache, digits_rectifier, tmp_path):
    run("plot", "curves", digits_cache, digits_rectifier, "-o", tmp_path / "curves.png")
    with (tmp_path / "curves.csv").open() as file:
        rows = {int(row["class_id"]): row for row in csv.DictReader(file)}
    methods = run("evaluate", digits_cache, digits_rectifier, "--json").document["methods"]
    for name in ("softmax", "marr"):
        shown = [float(rows[label][f"{name}.accuracy"]) for label in range(10)]
        assert shown == pytest.approx(methods[name]["per_class"])


def test_verify_finds_a_flipped_byte(run, digits_cache, tmp_path):
    assert run("verify", digits_cache).code == 0
    damaged = tmp_path / "damaged.h5"
    content = bytearray(digits_cache.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    done = run("verify", damaged, "--json")
    assert done.code == 3
    assert done.out == ""
    assert "splits/" in done.error


def test_extract_again_is_already_done(run, digits_cache):
    options = ["--iterations", "60", "--batch-size", "64", "-o", digits_cache]
    before = digits_cache.stat().st_mtime_ns
    done = run("extract", "--dataset", "digits-lt", "--views", "2", *options, "--json")
    assert done.code == 0
    assert done.document["written"] is False
    assert digits_cache.stat().st_mtime_ns == before


def test_extract_of_something_else_is_refused_with_the_difference(run, digits_cache):
    options = ["--checkpoint", digits_cache.with_suffix(".pt"), "-o", digits_cache]
    done = run("extract", "--dataset", "digits-lt", "--views", "3", *options)
    assert done.code == 3
    assert "transforms.train.views" in done.error


def test_another_training_is_refused_before_it_begins(run, digits_cache):
    options = ["--iterations", "61", "--batch-size", "64", "-o", digits_cache]
    done = run("extract", "--dataset", "digits-lt", "--views", "2", *options)
    assert done.code == 3
    assert "recipe.iterations: 60 -> 61" in done.error
    assert "training:" not in done.err


def test_extract_from_a_checkpoint_gives_the_same_rows(run, digits_cache, tmp_path):
    again = tmp_path / "again.h5"
    options = ["--checkpoint", digits_cache.with_suffix(".pt"), "--views", "2", "-o", again]
    assert run("extract", "--dataset", "digits-lt", *options).code == 0
    ours, theirs = open_cache(digits_cache), open_cache(again)
    assert ours.fingerprint == theirs.fingerprint
    for split in ("train", "test"):
        assert np.array_equal(ours.split(split).logits, theirs.split(split).logits)


def test_batch_statistics_are_recorded_and_make_another_cache(run, digits_cache, tmp_path):
    by_batch = tmp_path / "by-batch.h5"
    options = ["--checkpoint", digits_cache.with_suffix(".pt"), "--views", "2", "--bn", "train"]
    assert run("extract", "--dataset", "digits-lt", *options, "-o", by_batch).code == 0
    ours, theirs = open_cache(by_batch), open_cache(digits_cache)
    transforms = [cached.meta("transforms")["train"]["batch_norm"] for cached in (ours, theirs)]
    assert transforms == ["train", "eval"]
    assert ours.fingerprint != theirs.fingerprint
    assert ours.head_fingerprint == theirs.head_fingerprint
    assert not np.allclose(ours.split("test").logits, theirs.split("test").logits, atol=0.1)


def test_extract_with_an_option_against_its_checkpoint_is_refused(run, digits_cache, tmp_path):
    options = ["--checkpoint", digits_cache.with_suffix(".pt"), "--imbalance-ratio", "10"]
    done = run("extract", "--dataset", "digits-lt", *options, "-o", tmp_path / "other.h5")
    assert done.code == 3
    assert "--imbalance-ratio: 20.0 expected" in done.error


@pytest.mark.parametrize("store", names.STORES)
def test_what_is_stored_serves_a_fit(run, digits_cache, tmp_path, store):
    cache = tmp_path / "cache.h5"
    options = ["--checkpoint", digits_cache.with_suffix(".pt"), "--views", "0", "-o", cache]
    assert run("extract", "--dataset", "digits-lt", *options, "--store", store).code == 0
    split = open_cache(cache).split("train")
    assert (split.logits is not None, split.features is not None) == (
        store != "features",
        store != "logits",
    )
    done = run("rectify", cache, "--json")
    assert done.code == 0
    assert any("no augmented view" in text for text in done.document["warnings"])
    assert run("evaluate", cache).code == 0


@pytest.mark.parametrize("command", ["train", "extract"])
def test_dry_run_resolves_everything_and_writes_nothing(run, tmp_path, command):
    output = tmp_path / {"train": "net.pt", "extract": "cache.h5"}[command]
    done = run(command, "--dataset", "digits-lt", "--dry-run", "--json", "-o", output)
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
    done = run("train", "--dataset", "digits-lt", *options, "-o", net, "--json")
    assert done.code == 0
    assert done.document["iterations"] == 5
    options = ["--checkpoint", net, "--views", "1", "-o", cache]
    assert run("extract", "--dataset", "digits-lt", *options).code == 0
    cached = open_cache(cache)
    assert tuple(cached.splits) == ("train", "tune", "test")
    indices = cached.meta("indices")
    assert not set(indices["train"]) & set(indices["tune"])
    assert run("evaluate", cache, "--split", "tune").code == 0


def test_config_file_gives_defaults_that_options_override(run, digits_cache, tmp_path):
    config = tmp_path / "marr.toml"
    config.write_text('gamma = 0.5\n[rectify]\nfit_views = "clean"\n[evaluate]\nsplit = "train"\n')
    document = run("rectify", digits_cache, "--config", config, "--json").document
    assert document["gamma"] == 0.5
    document = run("rectify", digits_cache, "--config", config, "--gamma", "1", "--json").document
    assert document["gamma"] == 1.0
    done = run("rectify", digits_cache, "--config", config)
    assert "1 x 482 rows" in done.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gama = 1\n", "did you mean 'gamma'?"),
        ("[rectfy]\ngamma = 1\n", "did you mean 'rectify'?"),
        ("gamma = \n", "a TOML file expected"),
        ('gamma = "large"\n', "large"),
    ],
)
def test_config_file_with_an_error_is_a_usage_error(run, digits_cache, tmp_path, text, message):
    config = tmp_path / "marr.toml"
    config.write_text(text)
    done = run("rectify", digits_cache, "--config", config)
    assert done.code == 2
    assert message in done.err


def test_numbers_that_are_not_finite_are_null(run, digits_cache):
    document = run("evaluate", digits_cache, "--json").out
    assert "NaN" not in document
    assert "Infinity" not in document
    json.loads(document)
