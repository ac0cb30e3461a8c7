"""Archives of arrays: what is written comes back, through NumPy too, and damage is refused."""

import io
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_strategies

from marr_pipeline.cache import CacheError, map_npy, read_npz, write_npz
from marr_pipeline.cache.blocks import BLOCK_BYTES

NAMES = st.text("abc/_", min_size=1, max_size=5)
ARRAYS = np_strategies.arrays(
    st.sampled_from(["<f4", "<f2", "<f8", "<i8", "|u1", "|b1", "<U3", ">f4"]),
    np_strategies.array_shapes(min_dims=0, min_side=0, max_side=4),
)


@given(st.dictionaries(NAMES, ARRAYS, max_size=4))
def test_numpy_reads_what_is_written(arrays):
    file = io.BytesIO()
    write_npz(file, arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as found:
        assert list(found.files) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.shape


def test_our_reader_and_numpys_writer(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.arange(3), b=np.array(["ü"]))
    found = read_npz(tmp_path / "x.npz")
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"].tolist() == ["ü"]


def test_the_same_arrays_make_the_same_bytes():
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        write_npz(file, {"a": np.arange(3)})
    assert files[0].getvalue() == files[1].getvalue()


def test_a_mapped_array_is_written_block_by_block(tmp_path):
    num_rows = 8 * BLOCK_BYTES // 400
    wide = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "<f4", (num_rows, 100))
    wide[-1] = 3
    wide.flush()
    tracemalloc.start()
    with (tmp_path / "x.npz").open("wb") as file:
        write_npz(file, {"x": map_npy(tmp_path / "x.npy")})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * BLOCK_BYTES
    np.testing.assert_array_equal(read_npz(tmp_path / "x.npz")["x"], wide)


def test_columns_stored_first(tmp_path):
    array = np.asfortranarray(np.arange(6).reshape(2, 3))
    np.save(tmp_path / "f.npy", array)
    with (tmp_path / "f.npz").open("wb") as file:
        write_npz(file, {"x": map_npy(tmp_path / "f.npy")})
    np.testing.assert_array_equal(read_npz(tmp_path / "f.npz")["x"], array)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_objects_are_not_loaded(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.array([1, None]))
    with pytest.raises(CacheError, match="archive of plain arrays expected"):
        read_npz(tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", np.array([1, None]))
    with pytest.raises(CacheError, match=r"x\.npy: an \.npy file with one array of numbers"):
        map_npy(tmp_path / "x.npy")


def test_an_archive_in_place_of_a_single_array(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.savez(file, a=np.arange(3))
    with pytest.raises(CacheError, match=r"got an archive; name it \.npz"):
        map_npy(tmp_path / "x.npy")


def test_a_truncated_array(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(100))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-8])
    with pytest.raises(CacheError, match="one array of numbers expected, got"):
        map_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 broken"])
def test_what_is_no_npz(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(CacheError, match=re.escape(f"{path}: an .npz archive")):
        read_npz(path)


def test_a_single_array(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(3))
    with pytest.raises(CacheError, match="got a single array"):
        read_npz(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(CacheError, match="No such file"):
        read_npz(tmp_path / "none.npz")


def test_a_damaged_archive(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.arange(40))
    content = bytearray(path.read_bytes())
    content[150] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CacheError, match=r"an \.npz archive of plain arrays expected"):
        read_npz(path)
