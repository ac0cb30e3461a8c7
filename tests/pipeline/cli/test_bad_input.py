"""Every bad input: one clear line, the documented exit code, and nothing lost."""

import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from marr_pipeline.rectify.rectifier_file import load_rectifier

PIPELINE = [sys.executable, "-m", "marr_pipeline"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("list", "--list-train", "LIST", "--path-prefix", "val"), "OLD=NEW expected, got 'val'"),
        (("list", "--list-train", "LIST", "--image-size", 4), "at least 8 pixels expected, got 4"),
        (("folder", "--list-train", "LIST"), "none expected for folder"),
        (("list",), "--list-train"),
    ],
)
def test_lists_that_cannot_be_asked_for_are_usage(run, tmp_path, options, message):
    listed = tmp_path / "train.txt"
    listed.write_text("a/1.png 0\na/2.png 0\nb/1.png 1\n")
    given = [listed if option == "LIST" else option for option in options]
    options = ["--data-root", tmp_path, "--iterations", 1, "-o", tmp_path / "net.pt"]
    done = run("train", *options, "--dataset", *given)
    assert (done.code, done.out) == (2, "")
    assert message in done.error
    assert list(tmp_path.iterdir()) == [listed]


TOO_LARGE = 2**64


@pytest.mark.parametrize(
    ("command", "message"),
    [
        *(
            pytest.param(f"{command} --seed {TOO_LARGE}", f"{TOO_LARGE} is not in", id=command)
            for command in ("demo", "rectify CACHE", "compare CACHE", "views", "train", "extract")
        ),
        ("extract --data-seed 18446744073709551616", "--data-seed"),
        ("sweep CACHE --gamma 0:1:1e-9", "at most 10,000 numbers expected, got '0:1:1e-9'"),
        ("sweep CACHE --gamma 0:1:1e-3 --l2 0:1:1e-2", "at most 10,000 points expected, got 101,1"),
        ("sweep CACHE --method softmax --gamma 0,1", "a method that is fitted expected, got soft"),
        ("rectify CACHE --method logit-adjustment --gamma 3", "--gamma: a method that is fitted"),
        ("rectify CACHE --method tau-norm --tolerance 1", "--tolerance: a method that is fitted"),
        ("rectify CACHE -o ''", "a file name expected, got an empty one"),
    ],
)
def test_what_cannot_be_asked_for_is_usage(run, digits_cache, command, message):
    done = run(*shlex.split(command.replace("CACHE", str(digits_cache))))
    assert (done.code, done.out) == (2, "")
    assert message in done.error


@pytest.mark.parametrize("text", ["gamma = " + "[" * 10**5, "gamma = " + "9" * 5000, "l2 = \x00"])
def test_a_config_that_toml_cannot_read_is_usage(run, digits_cache, tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    done = run("rectify", digits_cache, "--config", tmp_path / "a.toml")
    assert (done.code, done.out) == (2, "")
    assert "a.toml: a TOML file expected, got " in done.error


def test_the_largest_seed_is_one(run, digits_cache):
    largest = ("--seed", 2**64 - 1)
    quick = ("--methods", "marr:official", "--resamples", 100)
    done = run("compare", digits_cache, *quick, *largest, "--json")
    assert (done.code, done.document["seed"]) == (0, 2**64 - 1), done.err


def test_missing_eval_split_is_no_error(run, digits_cache):
    done = run("rectify", digits_cache, "--eval-split", "tune", "--json")
    assert done.code == 0
    assert done.document["metrics"]["after"] is None
    assert any("no split tune" in text for text in done.document["warnings"])


@pytest.mark.parametrize("name", ["missing/marr.safetensors", "file/marr.safetensors"])
def test_unwritable_output_is_exit_1_before_any_work(run, digits_cache, tmp_path, name):
    (tmp_path / "file").write_text("a file where a folder is needed")
    done = run("rectify", digits_cache, "-o", tmp_path / name, "--json")
    assert done.code == 1
    assert done.out == ""
    assert name in done.error


def test_cuda_without_a_device(run, digits_cache):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    done = run("rectify", digits_cache, "--device", "cuda")
    assert done.code == 2
    assert "use --device cpu" in done.error


def test_a_traceback_only_when_asked_for(run, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"no cache")
    assert "Traceback" not in run("rectify", path).err
    assert "Traceback" in run("rectify", path, "--debug").err


def test_what_is_closed_is_not_written_to(digits_cache, tmp_path):
    """With `>&-` the first file that is opened would be stdout, and printed lines end up in it."""
    path = tmp_path / "marr.safetensors"
    for closed, told in ((">&-", "wrote"), (">&- 2>&-", "")):
        command = shlex.join([*PIPELINE, "rectify", str(digits_cache), "-o", str(path)])
        done = subprocess.run(f"{command} {closed}", shell=True, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, told in done.stderr) == (0, True), done.stderr
        load_rectifier(path)
        path.unlink()


def test_exit_codes_of_a_real_process(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"no cache")
    for cache, code in ((path, 3), (tmp_path / "none.h5", 2)):
        done = subprocess.run([*PIPELINE, "inspect", cache], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr


def test_an_unknown_command_is_answered_with_the_one_that_is_meant(run):
    for typed, meant in (
        ("rectfy", "did you mean 'rectify'?"),
        ("bench", "known: demo, "),
    ):
        done = run(typed)
        assert (done.code, done.out) == (2, "")
        assert f"No such command '{typed}'; {meant}" in done.error


def test_iterations_have_an_end(run, tmp_path):
    options = ["--dataset", "digits-lt", "--dry-run", "-o", tmp_path / "net.pt"]
    for asked in (("--iterations", 2**63), ("--epochs", 2**63), ("--epochs", 10**9)):
        done = run("train", *options, *asked)
        assert (done.code, done.out) == (2, "")
        assert "1000000000" in done.error or "up to 1,000,000,000 expected" in done.error


def test_a_dry_run_refuses_what_the_run_would_refuse(run, digits_cache, tmp_path):
    other = tmp_path / "net.pt"
    other.write_bytes(digits_cache.with_suffix(".pt").read_bytes())
    options = ["--dataset", "digits-lt", "--batch-size", 64, "-o", other]
    dry, real = (run("train", *options, "--iterations", 61, *more) for more in (["--dry-run"], []))
    assert (dry.code, dry.error) == (real.code, real.error)
    assert "recipe.iterations 60, asked 61" in dry.error
    for agreed in (["--iterations", 60], ["--iterations", 61, "--overwrite"]):
        assert run("train", *options, *agreed, "--dry-run").code == 0


QUICK_TUNING = "--tune auto --l2 0.1 --center zero"


def test_imported_rows_are_no_images(run, tmp_path):
    """What is said to someone with a table names what `import` takes."""
    labels = np.repeat([0, 1, 2], [40, 30, 10])
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((80, 4)) + 2 * np.eye(4)[labels]
    np.savez(tmp_path / "t.npz", logits=logits, labels=labels)
    cache = tmp_path / "own.h5"
    said = [run("import", "--train", tmp_path / "t.npz", "-o", cache).err]
    said += [
        run("rectify", cache, *options.split()).err
        for options in ("", "--method crt", "--method tde", "--fit-views clean", QUICK_TUNING)
    ]
    for text in said:
        assert not re.search(r"image|extract|--store", text.replace(str(tmp_path), ""))
