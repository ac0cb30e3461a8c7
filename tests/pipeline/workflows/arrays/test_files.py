"""Files of arrays: what NumPy wrote is read, damage and objects are refused."""

import io
import zipfile

import numpy as np
import pytest

from marr_pipeline import tensor_file
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


def npy(shape):
    """An `.npy` of two numbers that claims another shape."""
    made = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(made, header)
    return made.getvalue() + bytes(16)


def archive(content, *, kind=zipfile.ZIP_DEFLATED, **changed):
    """A writer of an `.npz` of one such array; fields of its directory are changed."""

    def write(path):
        with zipfile.ZipFile(path, "w", kind) as file:
            file.writestr("x.npy", content)
            for name, value in changed.items():
                setattr(file.infolist()[0], name, value)

    return write


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("x.npy", cut_short, "an .npy file with one array of numbers expected, got"),
        ("x.npy", other_kind, "an .npy file with one array of numbers expected, got an archive"),
        ("x.npz", other_kind, "an .npz archive of plain arrays expected, got a single array"),
        ("x.npz", lambda path: path.write_bytes(b""), "an .npz archive of plain arrays expected"),
        ("x.npz", lambda path: path.write_bytes(b"PK\x03\x04 broken"), "an .npz archive of plain"),
        ("x.npz", damaged, "an .npz archive of plain arrays expected"),
        ("x.npz", lambda path: None, "got [Errno 2] No such file"),
        ("x.npy", lambda path: path.write_bytes(npy((10**13,))), "an .npy file with one array of"),
        ("x.npz", archive(npy((10**13,))), "an .npz archive of plain arrays expected, got"),
        ("x.npz", archive(npy((1,))), "got x.npy, which is longer than its array"),
        ("x.npz", archive(npy((2,)), flag_bits=1), "got x.npy, which is encrypted"),
        ("x.npz", archive(npy((2,)), file_size=10**9), "x.npy, which claims 1,000,000,000 bytes"),
    ],
)
def test_what_is_no_file_of_its_kind(tmp_path, name, write, message):
    path = tmp_path / name
    write(path)
    with pytest.raises(DataError) as caught:
        (map_npy if path.suffix == ".npy" else read_npz)(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_what_unpacks_to_more_than_memory_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", logits=np.zeros(10**6), other=np.zeros(10**6))
    monkeypatch.setattr(tensor_file, "available_bytes", lambda device: 10**7)
    assert read_npz(tmp_path / "x.npz", holds="logits").keys() == {"logits"}
    with pytest.raises(DataError, match=r"x\.npz: .* got 0 GB in memory, where 0\.0 are free"):
        read_npz(tmp_path / "x.npz")
