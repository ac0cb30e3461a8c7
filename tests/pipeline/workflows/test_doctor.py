from importlib import metadata
from pathlib import Path

import filelock
import pytest
import torch

from marr_pipeline.rectify.rows import kernel
from marr_pipeline.workflows import doctor


def lines(run, *options, code):
    done = run("doctor", "--json", *options)
    assert done.code == code, done.out
    return {line["name"]: line for line in done.document["lines"]}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sound_machine_has_no_problem_and_keeps_no_probe(run, here):
    found = lines(run, code=0)
    assert found["h5py"]["text"].partition(", HDF5 ")[2]
    assert found["current folder"] == {
        "name": "current folder",
        "text": f"{here} takes caches",
        "state": "ok",
        "remedy": "",
    }
    assert all(line["remedy"] for line in found.values() if line["state"] == "note")
    assert not list(here.iterdir())


def test_every_library_that_is_required_is_looked_at(run, here):
    required = {"click", "filelock", "h5py", "numpy", "pillow", "scikit-learn", "torch"}
    assert required <= set(lines(run, code=0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda name: "0.9.1", "0.21 or newer expected, got 0.9.1"),
        (None, "0.21 or newer expected, got: No package metadata was found for torchvision"),
    ],
)
def test_a_library_that_is_old_or_missing_is_a_problem(run, here, monkeypatch, change, said):
    version = metadata.version

    def changed(name):
        if name != "torchvision":
            return version(name)
        if change is None:
            raise metadata.PackageNotFoundError(name)
        return change(name)

    monkeypatch.setattr(doctor.metadata, "version", changed)
    found = lines(run, code=1)["torchvision"]
    assert (found["state"], found["text"]) == ("problem", said)
    assert found["remedy"] == "pip install --force-reinstall 'torchvision>=0.21'"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a folder that root cannot write either")
def test_a_folder_that_takes_no_file_is_a_problem(run, here):
    found = lines(run, "--folder", "/proc", code=1)
    assert found["output folder"]["state"] == "problem"
    assert "choose another output" in found["output folder"]["text"]
    assert found["current folder"]["state"] == "ok"


def test_passes_that_were_not_compiled_are_a_note(run, here, monkeypatch):
    monkeypatch.setattr(kernel, "_library", lambda: None)
    monkeypatch.delenv(kernel.VARIABLE, raising=False)
    found = lines(run, code=0)["passes over logits"]
    assert (found["state"], found["text"]) == ("note", "torch; nothing of this state was built")
    monkeypatch.setenv(kernel.VARIABLE, "torch")
    assert lines(run, code=0)["passes over logits"]["state"] == "ok"


def test_a_file_system_without_locks_is_a_note(run, here, monkeypatch):
    monkeypatch.setattr(filelock, "FileLock", filelock.SoftFileLock)
    assert lines(run, code=0)["current folder's locks"]["state"] == "note"


def test_more_threads_than_cores_are_a_note(run, here, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    monkeypatch.setattr(doctor, "_cgroup_cores", lambda: 1.5)
    found = lines(run, code=0)
    assert "1.5 by the container's limit" in found["cores"]["text"]
    assert "set OMP_NUM_THREADS=1:" in found["threads"]["remedy"]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_the_limit_of_a_container(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert doctor._cgroup_cores(tmp_path) == cores


def test_what_breaks_a_part_is_a_problem_and_the_others_are_looked_at(run, here, monkeypatch):
    def broken():
        raise RuntimeError("no such driver")

    monkeypatch.setattr(torch.cuda, "device_count", broken)
    found = lines(run, code=1)
    assert found["devices"]["text"] == "RuntimeError: no such driver"
    assert found["current folder"]["state"] == "ok"
