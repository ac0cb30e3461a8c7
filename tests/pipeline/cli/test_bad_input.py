"""Every bad input: one clear line, the documented exit code, and nothing lost."""

import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

PIPELINE = [sys.executable, "-m", "marr_pipeline"]


def test_missing_data_root_is_usage(run, tmp_path):
    missing = tmp_path / "nowhere"
    done = run(
        "extract", "--dataset", "cifar10-lt", "--data-root", missing, "-o", tmp_path / "a.h5"
    )
    assert done.code == 2
    assert str(missing) in done.error


def test_unknown_dataset_is_usage_and_lists_the_known(run, tmp_path):
    done = run("extract", "--dataset", "cifar11", "-o", tmp_path / "a.h5")
    assert done.code == 2
    assert "digits-lt" in done.err


def test_missing_cache_is_usage(run, tmp_path):
    done = run("rectify", tmp_path / "none.h5", "--json")
    assert done.code == 2
    assert done.out == ""


def test_data_root_without_images_is_invalid(run, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run(
        *("extract", "--dataset", "folder", "--data-root", tmp_path / "empty"),
        *("-o", tmp_path / "a.h5"),
    )
    assert done.code == 3
    assert str(tmp_path / "empty") in done.error


def test_empty_class_is_named(run, tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for name in ("ant", "bee"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            if (split, name) != ("train", "bee"):
                picture = Image.new("RGB", (32, 32), "red")
                picture.save(tmp_path / "data" / split / name / "0.png")
    done = run(
        *("extract", "--dataset", "folder", "--data-root", tmp_path / "data"),
        *("-o", tmp_path / "a.h5"),
    )
    assert done.code == 3
    assert "bee" in done.error


def test_too_few_images_for_the_ratio_name_the_class(run, tmp_path):
    options = ["--imbalance-ratio", "1.001", "-o", tmp_path / "a.h5"]
    done = run("extract", "--dataset", "digits-lt", *options)
    assert done.code == 3
    assert "class" in done.error


@pytest.mark.parametrize("content", [b"", b"no hdf5 at all", b"\x89HDF\r\n\x1a\n"])
def test_not_a_cache(run, tmp_path, content):
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    for command in (["rectify"], ["inspect"], ["evaluate"], ["verify"]):
        done = run(*command, path)
        assert done.code == 3, command
        assert str(path) in done.error


def test_foreign_hdf5(run, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)
    done = run("rectify", path)
    assert done.code == 3
    assert "marr-cache" in done.error


def test_truncated_cache(run, digits_cache, tmp_path):
    path = tmp_path / "cut.h5"
    content = digits_cache.read_bytes()
    for size in (len(content) - 1, len(content) // 2, 2000):
        path.write_bytes(content[:size])
        done = run("rectify", path, "--json")
        assert done.code == 3
        assert done.out == ""
        assert str(path) in done.error


def test_cache_without_the_asked_split(run, digits_cache):
    for command in (["rectify", digits_cache, "--fit-split", "tune"],):
        done = run(*command)
        assert done.code == 3
        assert "has no split 'tune'; it has train, test" in done.error
    done = run("evaluate", digits_cache, "--split", "tune")
    assert done.code == 3


def test_missing_eval_split_is_no_error(run, digits_cache):
    done = run("rectify", digits_cache, "--eval-split", "tune", "--json")
    assert done.code == 0
    assert done.document["metrics"]["after"] is None
    assert any("no split tune" in text for text in done.document["warnings"])


def test_missing_views_are_named(run, digits_cache, tmp_path):
    cache = tmp_path / "own.h5"
    labels = np.array([0, 1, 1])
    np.savez(tmp_path / "t.npz", logits=np.eye(2, dtype=np.float32)[labels], labels=labels)
    # One-hot rows would be taken for probabilities.
    np.savez(tmp_path / "t.npz", logits=2 * np.eye(2, dtype=np.float32)[labels], labels=labels)
    assert run("import", "--train", tmp_path / "t.npz", "-o", cache).code == 0
    done = run("rectify", cache, "--fit-views", "clean")
    assert done.code == 3
    assert "augmented" in done.error


@pytest.mark.parametrize("name", ["missing/marr.safetensors", "file/marr.safetensors"])
def test_unwritable_output_is_exit_1_before_any_work(run, digits_cache, tmp_path, name):
    (tmp_path / "file").write_text("a file where a folder is needed")
    done = run("rectify", digits_cache, "-o", tmp_path / name, "--json")
    assert done.code == 1
    assert done.out == ""
    assert name in done.error


def test_output_of_another_kind_is_usage(run, digits_cache, tmp_path):
    assert run("rectify", digits_cache, "-o", tmp_path / "marr.txt").code == 2
    assert run("plot", "curves", digits_cache, "-o", tmp_path / "curves.bmp").code == 2


def test_bad_numbers_are_usage(run, digits_cache):
    for options in (["--l2", "-1"], ["--gamma", "nan"], ["--tolerance", "0"], ["--l2", "inf"]):
        done = run("rectify", digits_cache, *options, "--json")
        assert done.code == 2, options
        assert done.out == ""


def test_two_rectifiers_of_one_stem(run, digits_cache, digits_rectifier):
    done = run("evaluate", digits_cache, digits_rectifier, digits_rectifier)
    assert done.code == 2
    assert "a second marr" in done.error


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
