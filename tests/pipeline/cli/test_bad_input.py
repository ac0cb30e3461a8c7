"""Every bad input: one clear line, the documented exit code, and nothing lost."""

import os
import signal
import subprocess
import sys
import time

import pytest

PIPELINE = [sys.executable, "-m", "marr_pipeline"]


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
    codes = {
        ("--version",): 0,
        ("rectify", str(tmp_path / "none.h5")): 2,
        ("inspect", str(path)): 3,
        ("inspect",): 2,
    }
    for arguments, code in codes.items():
        done = subprocess.run([*PIPELINE, *arguments], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_goes_on_where_it_was(tmp_path, number):
    net = tmp_path / "net.pt"
    options = ["--iterations", "4000", "--batch-size", "16", "-o", str(net)]
    command = [*PIPELINE, "train", "--dataset", "digits-lt", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:  # wait until it trains
        if line.startswith("training:"):
            break
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert net.exists()
    again = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    for line in again.stderr:
        assert time.monotonic() < deadline
        if line.startswith("training:"):
            assert int(line.split()[1].split("/")[0].replace(",", "")) > 1
            break
    again.kill()
    again.wait()
    again.stderr.close()
