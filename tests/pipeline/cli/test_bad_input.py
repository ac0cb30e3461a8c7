"""Every bad input: one clear line, the documented exit code, and nothing lost."""

import shlex
import subprocess
import sys

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


def test_the_largest_seed_is_one(run, digits_cache):
    largest = ("--seed", 2**64 - 1)
    quick = ("--methods", "crt:official", "--resamples", 100)
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
