import os

import pytest
import torch

from marr_pipeline.cli import main
from marr_pipeline.device import (
    dtype_name,
    fast_precision,
    num_threads,
    resolve_device,
    resolve_precision,
)
from marr_pipeline.errors import ConfigError


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_without_a_gpu_work_stays_on_the_cpu(name, no_gpu):
    assert resolve_device(name) == torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


def test_an_absent_gpu_is_refused(no_gpu):
    with pytest.raises(ConfigError, match="CUDA device expected, got none; use --device cpu"):
        resolve_device("cuda")


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match="auto, cpu, cuda expected, got tpu"):
        resolve_device("tpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bfloat16"),
        ({"avx512_f": True, "avx512_bf16": False}, "float32"),
        ({}, "float32"),
    ],
)
def test_a_cpu_trains_in_bfloat16_only_with_its_instructions(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert dtype_name(fast_precision(torch.device("cpu"))) == expected


def test_a_torch_that_cannot_tell_trains_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert fast_precision(torch.device("cpu")) == torch.float32


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_precision_is_taken_by_its_name(name):
    assert dtype_name(resolve_precision(name, torch.device("cpu"))) == name


def test_auto_is_the_precision_of_the_hardware():
    device = torch.device("cpu")
    assert resolve_precision("auto", device) == fast_precision(device)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="auto, float32, bfloat16, float16 expected, got half"):
        resolve_precision("half", torch.device("cpu"))


def test_the_number_of_threads_is_put_back_whatever_happens():
    def fail():
        assert torch.get_num_threads() == before + 1
        raise ValueError("x")

    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="x"), num_threads(before + 1):
        fail()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("said", "holds"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch, said, holds):
    monkeypatch.setenv("OMP_WAIT_POLICY", said or "")
    if said is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == holds
