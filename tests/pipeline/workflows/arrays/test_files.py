"""Files of arrays: what NumPy wrote is read, damage and objects are refused."""

import re

import numpy as np
import pytest

from marr_pipeline.errors import DataError
from marr_pipeline.workflows.arrays.files import map_npy, read_npz


def test_our_reader_and_numpys_writer(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.arange(3), b=np.array(["ü"]))
    found = read_npz(tmp_path / "x.npz")
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"].tolist() == ["ü"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_objects_are_not_loaded(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.array([1, None]))
    with pytest.raises(DataError, match="archive of plain arrays expected"):
        read_npz(tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", np.array([1, None]))
    with pytest.raises(DataError, match=r"x\.npy: an \.npy file with one array of numbers"):
        map_npy(tmp_path / "x.npy")


def test_an_archive_in_place_of_a_single_array(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.savez(file, a=np.arange(3))
    with pytest.raises(DataError, match=r"got an archive; name it \.npz"):
        map_npy(tmp_path / "x.npy")


def test_a_truncated_array(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(100))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-8])
    with pytest.raises(DataError, match="one array of numbers expected, got"):
        map_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 broken"])
def test_what_is_no_npz(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{path}: an .npz archive")):
        read_npz(path)


def test_a_single_array(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(3))
    with pytest.raises(
        DataError, match=rf"^{re.escape(str(path))}: an \.npz archive expected, got a s"
    ):
        read_npz(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_npz(tmp_path / "none.npz")


def test_a_damaged_archive(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.arange(40))
    content = bytearray(path.read_bytes())
    content[150] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"an \.npz archive of plain arrays expected"):
        read_npz(path)
