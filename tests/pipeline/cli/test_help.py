"""Help that fits, examples that run, settings that come back, and how loud a command is."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import click
import numpy as np
import pytest
from caches import write_splits
from click.shell_completion import BashComplete

from marr_pipeline.cache import SplitArrays
from marr_pipeline.cli import COMMANDS, cli
from marr_pipeline.cli.help import GENERAL, example_arguments

MOST_LINES = 70  # of `extract --help` on a terminal of 80 columns
ROOT = click.Context(cli, info_name="pipeline")


def command(name):
    return cli.get_command(ROOT, name)


def told(run, *arguments):
    done = run(*arguments)
    assert done.code == 0, done.err
    return done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_and_full_help_has_every_option(run, name):
    short, full = told(run, name, "--help"), told(run, name, "--help-all")
    assert len(short.splitlines()) <= MOST_LINES
    assert max(map(len, full.splitlines())) <= 80
    assert re.search(rf"^Example:\n  pipeline {name}\b", short, re.MULTILINE)
    assert f"\n{GENERAL}:\n" in short
    for option in command(name).params:
        if isinstance(option, click.Option) and not option.hidden:
            shown = re.compile(rf"^  (-\w, )?{option.opts[-1]}\b", re.MULTILINE)
            assert shown.search(full)
            assert bool(shown.search(short)) is not option.is_expert


def test_a_short_help_says_the_first_sentence_and_the_usual_default(run):
    short, full = (told(run, "rectify", how) for how in ("--help", "--help-all"))
    assert "[default: 1;\n" in short or "[default: 1; ...]" in " ".join(short.split())
    assert "paper and official: 1.2" not in short
    assert "paper and official: 1.2" in full


def test_commands_are_grouped_and_no_summary_is_cut(run):
    out = told(run, "--help")
    assert "..." not in out.partition("Begin:")[2]
    assert all(re.search(rf"^  {name}  +[A-Z].*\.$", out, re.MULTILINE) for name in COMMANDS)


@pytest.fixture(scope="module")
def folder(digits_cache, tmp_path_factory):
    """Where the examples of phase two run."""
    path = tmp_path_factory.mktemp("examples")
    for suffix in (".h5", ".pt"):
        shutil.copy(digits_cache.with_suffix(suffix), path)
    labels, rng = np.repeat(np.arange(3), [12, 6, 3]), np.random.default_rng(0)
    for name in ("a", "b"):
        logits = rng.standard_normal((1, len(labels), 3)).astype(np.float32)
        rows = {split: SplitArrays(logits=logits, labels=labels) for split in ("train", "test")}
        write_splits(
            path / f"{name}.h5", rows, class_counts=np.bincount(labels), parts={"name": name}
        )
    for split in ("train", "test"):
        np.savez(path / f"{split}.npz", logits=logits, labels=labels)
    return path


SLOW = ("demo", "train", "extract", "views", "report")  # each has a test of its own


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in SLOW])
def test_examples_run(run, folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    if name != "rectify" and not (folder / "marr.safetensors").exists():
        told(run, "rectify", "digits.h5", "-o", "marr.safetensors")
    for arguments in example_arguments(command(name).example):
        told(run, *arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_printed_config_is_taken_back_and_changes_nothing(run, folder, monkeypatch, name):
    """With every default given: those lines begin with # and no space."""
    monkeypatch.chdir(folder)
    (folder / "marr.safetensors").touch()
    text = told(run, "--print-config", name)
    assert tomllib.loads(text) == {name: {}}
    given = re.sub("^#(?=[a-z])", "", text, flags=re.MULTILINE)
    (folder / "c.toml").write_text(given, encoding="utf-8")
    assert tomllib.loads(given)[name]["quiet"] is False
    for option in command(name).params:
        if isinstance(option, click.Option) and not option.hidden and not option.is_eager:
            key = max(option.opts, key=len).removeprefix("--")
            assert re.search(rf"^#? ?{key} = ", text, re.MULTILINE)
    (_, *arguments) = example_arguments(command(name).example)[0]
    plain = command(name).make_context(name, [*arguments], parent=ROOT)
    again = command(name).make_context(name, [*arguments, "--config", "c.toml"], parent=ROOT)
    assert again.params == plain.params


@pytest.mark.parametrize("key", ["config", "debug", "help-all"])
def test_what_acts_before_a_config_is_read_is_no_key_of_it(run, digits_cache, tmp_path, key):
    (tmp_path / "c.toml").write_text(f"{key} = true\n")
    done = run("inspect", digits_cache, "--config", tmp_path / "c.toml")
    assert done.code == 2
    assert f"'{key}' is no option here" in done.error


def completions(*words):
    *before, last = words
    found = BashComplete(cli, {}, "pipeline", "_PIPELINE_COMPLETE").get_completions(before, last)
    return [item.value for item in found]


def test_shells_complete_commands_options_and_names():
    assert completions("re") == ["rectify", "report", "reproduce"]
    assert completions("rectify", "c.h5", "--opt") == ["--optimizer"]
    assert completions("rectify", "c.h5", "--method", "ba") == ["balanced-softmax-head"]
    assert completions("train", "--dataset", "cifar") == ["cifar10-lt", "cifar100-lt"]
    assert completions("plot", "ge") == ["geometry"]
    assert completions("rectify", "c.h5", "--center", "te") == ["tempered"]
    assert completions("sweep", "c.h5", "--center", "zero,id") == ["zero,identity"]


def test_completion_loads_no_library():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "marr_pipeline"],
        env={
            **os.environ,
            "_PIPELINE_COMPLETE": "bash_complete",
            "COMP_WORDS": "pipeline rectify c.h5 --opt",
            "COMP_CWORD": "3",
        },
        capture_output=True,
        text=True,
    )
    assert done.stdout == "plain,--optimizer\n"
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "marr_pipeline.cli.options" in loaded
    assert not loaded & {"torch", "numpy", "h5py", "matplotlib"}


USAGE_ERRORS = """
import sys
from marr_pipeline.cli import main
for line in sys.stdin.read().splitlines():
    try:
        main(line.split())
    except SystemExit as stop:
        print(stop.code, *sorted({"torch", "h5py", "matplotlib", "numpy"} & set(sys.modules)))
"""


def test_refused_options_load_no_library(tmp_path):
    (tmp_path / "c.h5").touch()
    lines = [
        "rectify --bad",
        "rectify missing.h5",
        "rectify c.h5 -o marr.pt",
        "plot curves c.h5 -o curves.jpeg",
        "compare c.h5 --all --methods marr",
        "extract --dataset digits-lt --weights model -o d.h5",
        "train --dataset digits-lt -q -v -o d.pt",
    ]
    done = subprocess.run(
        [sys.executable, "-c", USAGE_ERRORS],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout.split("\n") == [*["2"] * len(lines), ""], done.stderr


def test_quiet_leaves_results_and_warnings(run, digits_cache):
    plain, quiet = run("rectify", digits_cache), run("rectify", digits_cache, "-q")
    assert quiet.out == plain.out
    assert "converged" in plain.err
    assert all(re.match(r"(warning|error|R\d\d): ", line) for line in quiet.err.splitlines())


def test_verbose_says_what_every_option_is_and_how_long_it_took(run, digits_cache, tmp_path):
    (tmp_path / "c.toml").write_text('method = "bias"\n')
    options = ("--gamma", "0", "--config", tmp_path / "c.toml", "-v")
    lines = run("rectify", digits_cache, *options).err.splitlines()
    assert "  gamma = 0.0  (commandline)" in lines
    assert "  method = bias  (default map)" in lines
    assert "  eval_split = test  (default)" in lines
    assert re.fullmatch(r"rectify: \d+\.\d\d s in all", lines[-1])


def test_quiet_and_verbose_exclude_each_other(run, digits_cache):
    done = run("inspect", digits_cache, "-q", "-v")
    assert done.code == 2
    assert "leave one of them out" in done.error


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("l2 = [1, 2]", "l2: text or a number expected, got [1, 2]"),
        ("l2 = {a = 1}", "l2: text or a number expected, got {'a': 1}"),
        ("l2 = true", "l2: text or a number expected, got True"),
        ("json = 3", "json: true or false expected, got 3"),
        ("seed = 1.5", "'1.5' is not a valid integer"),
    ],
)
def test_a_config_is_held_to_what_the_command_line_takes(run, digits_cache, tmp_path, line, said):
    (tmp_path / "a.toml").write_text(f"[rectify]\n{line}\n")
    done = run("rectify", digits_cache, "--config", tmp_path / "a.toml")
    assert done.code == 2
    assert said in done.error
