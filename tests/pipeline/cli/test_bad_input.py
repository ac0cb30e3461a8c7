"""Every bad input: one clear line, the documented exit code, and nothing lost."""

import subprocess
import sys

import pytest

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


def test_exit_codes_of_a_real_process(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"no cache")
    for cache, code in ((path, 3), (tmp_path / "none.h5", 2)):
        done = subprocess.run([*PIPELINE, "inspect", cache], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
