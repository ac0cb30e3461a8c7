"""Tensor files: every format, and damage that is told and never raises anything else."""

import io
import stat
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from marr_pipeline.errors import DataError
from marr_pipeline.tensor_file import read_tensor_file, safetensors_header, write_tensor_file

CONTENT = {"a": torch.arange(6.0).reshape(2, 3), "n": 3, "b": {"c": torch.ones(2, dtype=torch.int)}}


def saved(*, zipped):
    buffer = io.BytesIO()
    torch.save(CONTENT, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


BYTES = {"zip": saved(zipped=True), "older": saved(zipped=False)}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("kind", BYTES)
def test_torch_files_are_read_back(tmp_path, kind, mapped):
    (tmp_path / "a.pt").write_bytes(BYTES[kind])
    read = read_tensor_file(tmp_path / "a.pt", mapped=mapped)
    assert read.keys() == CONTENT.keys()
    assert torch.equal(read["a"], CONTENT["a"])
    assert torch.equal(read["b"]["c"], CONTENT["b"]["c"])


def test_safetensors_are_read_back(tmp_path):
    save_file({"a": CONTENT["a"]}, tmp_path / "a.safetensors")
    assert torch.equal(read_tensor_file(tmp_path / "a.safetensors")["a"], CONTENT["a"])


def test_others_may_read_what_is_written(tmp_path):
    (tmp_path / "plain").touch()
    write_tensor_file(tmp_path / "a.safetensors", {"a": CONTENT["a"].T}, header={"n": "3"})
    write_tensor_file(tmp_path / "a.pt", CONTENT)
    assert len({stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}) == 1
    assert torch.equal(read_tensor_file(tmp_path / "a.safetensors")["a"], CONTENT["a"].T)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "a.pt"


def refusal(path):
    try:
        read_tensor_file(path)
    except DataError as error:
        return str(error)
    return None


@given(
    kind=st.sampled_from(sorted(BYTES)),
    place=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
    keep=st.booleans(),
)
def test_a_damaged_byte_or_a_cut_is_read_or_told(damaged, kind, place, byte, keep):
    content = bytearray(BYTES[kind])
    at = int(place * len(content))
    content[at] = byte
    damaged.write_bytes(content if keep else content[:at])
    said = refusal(damaged)
    assert said is None or said.startswith(f"{damaged}: a dict of tensors as .safetensors or by ")
    assert "\n" not in (said or "")


@pytest.mark.parametrize("mapped", [False, True])
def test_a_flipped_bit_of_the_weights_is_told(tmp_path, mapped):
    path, weights = tmp_path / "a.pt", torch.arange(1000.0)
    torch.save({"a": weights}, path)
    content = bytearray(path.read_bytes())
    content[content.index(weights.numpy().tobytes()) + 2001] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"a\.pt: .* bytes of a/data/0 that do not agree with their"
    ):
        read_tensor_file(path, mapped=mapped)


def test_an_archive_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_tensor_file(tmp_path / "a.pt")["n"] == 3


def test_what_was_written_is_compared_with_its_digest(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensor_file(path, {"a": CONTENT["a"]}, header={"n": "0" * 64})
    assert safetensors_header(path)["n"] == "0" * 64
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=r"the bytes that were written expected \(SHA-256"):
        read_tensor_file(path)


def ring():
    inner = {}
    inner["a"] = [inner]
    return inner


@pytest.mark.parametrize("content", [ring(), {"a": [ring()] * 3}])
def test_what_has_no_end_is_told(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match="100 containers in one another, or a ring"):
        read_tensor_file(tmp_path / "a.pt")


def test_a_torchscript_archive_is_told(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that torch will drop the format
        module = torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
        torch.jit.save(module, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"a\.pt: .* got a TorchScript program; save its t"):
        read_tensor_file(tmp_path / "a.pt")


def test_an_absent_file_is_told(tmp_path):
    with pytest.raises(DataError, match=r"none\.pt: .* got no file"):
        read_tensor_file(tmp_path / "none.pt")
