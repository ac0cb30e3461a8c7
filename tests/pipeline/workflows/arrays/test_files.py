"""Files of arrays: what NumPy wrote is read, damage and objects are refused."""

import numpy as np
import pytest

from marr_pipeline.errors import DataError
from marr_pipeline.workflows.arrays import map_npy, read_npz


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


def damaged(path):
    np.savez(path, x=np.arange(40))
    content = bytearray(path.read_bytes())
    content[150] ^= 0xFF
    path.write_bytes(content)


def cut_short(path):
    np.save(path, np.arange(100))
    path.write_bytes(path.read_bytes()[:-8])


def other_kind(path):
    with path.open("wb") as file:
        np.savez(file, a=np.arange(3)) if path.suffix == ".npy" else np.save(file, np.arange(3))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("x.npy", cut_short, "an .npy file with one array of numbers expected, got"),
        ("x.npy", other_kind, "an .npy file with one array expected, got an archive; name it .npz"),
        ("x.npz", other_kind, "an .npz archive expected, got a single array"),
        ("x.npz", lambda path: path.write_bytes(b""), "an .npz archive of plain arrays expected"),
        ("x.npz", lambda path: path.write_bytes(b"PK\x03\x04 broken"), "an .npz archive of plain"),
        ("x.npz", damaged, "an .npz archive of plain arrays expected"),
        ("x.npz", lambda path: None, "got [Errno 2] No such file"),
    ],
)
def test_what_is_no_file_of_its_kind(tmp_path, name, write, message):
    path = tmp_path / name
    write(path)
    with pytest.raises(DataError) as caught:
        (map_npy if path.suffix == ".npy" else read_npz)(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
