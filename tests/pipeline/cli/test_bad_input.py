"""Every bad input: one clear line, the documented exit code, and nothing lost."""

import subprocess
import sys

import numpy as np
import pytest

PIPELINE = [sys.executable, "-m", "marr_pipeline"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("extract", "--dataset", "cifar10-lt", "--data-root", "nowhere", "-o", "a.h5"), "nowhere"),
        (("extract", "--dataset", "cifar11", "-o", "a.h5"), "digits-lt"),
        (("rectify", "none.h5", "--json"), "none.h5"),
        (("rectify", "CACHE", "-o", "marr.txt"), "a name ending in .safetensors expected"),
        (("plot", "curves", "CACHE", "-o", "curves.bmp"), "a name ending in .png or .pdf or .svg"),
        (("rectify", "CACHE", "--l2", "-1"), "--l2"),
        (("rectify", "CACHE", "--l2", "inf"), "l2: a number >= 0 expected, got inf"),
        (("rectify", "CACHE", "--gamma", "nan"), "gamma: a finite number expected, got nan"),
        (("rectify", "CACHE", "--tolerance", "0"), "--tolerance"),
    ],
)
def test_what_is_asked_wrongly_is_usage(run, digits_cache, arguments, message):
    done = run(*(digits_cache if part == "CACHE" else part for part in arguments))
    assert (done.code, done.out) == (2, "")
    assert message in done.err


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


def test_cache_without_the_asked_split(run, digits_cache):
    for command, option in (("rectify", "--fit-split"), ("evaluate", "--split")):
        done = run(command, digits_cache, option, "tune")
        assert done.code == 3
        assert "has no split 'tune'; it has train, test" in done.error


def test_missing_eval_split_is_no_error(run, digits_cache):
    done = run("rectify", digits_cache, "--eval-split", "tune", "--json")
    assert done.code == 0
    assert done.document["metrics"]["after"] is None
    assert any("no split tune" in text for text in done.document["warnings"])


def test_missing_views_are_named(run, digits_cache, tmp_path):
    cache = tmp_path / "own.h5"
    labels = np.array([0, 1, 1])
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
