"""Rows block by block: in memory or in a file, of one type or of several, and tables read so."""

import numpy as np
import pytest

from marr_pipeline.errors import DataError
from marr_pipeline.workflows.arrays import csv_file, parquet_file, spool
from marr_pipeline.workflows.arrays.spool import Spool
from marr_pipeline.workflows.arrays.table import read_table, write_table


@pytest.fixture(params=[2**20, 300], ids=["in memory", "in a file"])
def few_bytes(request, monkeypatch):
    monkeypatch.setattr(spool, "IN_MEMORY", request.param)
    monkeypatch.setattr(csv_file, "_BLOCK_ROWS", 16)
    monkeypatch.setattr(parquet_file, "_BLOCK_ROWS", 16)
    return request.param


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param([np.arange(40.0).reshape(20, 2)] * 5, id="numbers"),
        pytest.param([np.array(["a", "bb"]), np.array(["cccc"] * 50)], id="longer text"),
        pytest.param([np.arange(60), np.array(["x7", "007"])], id="numbers, then text"),
        pytest.param([np.empty((3, 0), np.float32)] * 2, id="no columns"),
    ],
)
def test_blocks_are_one_array(few_bytes, blocks):
    kept = Spool()
    for block in blocks:
        own = block.copy()
        kept.add(own)
        own[:] = own[:1]  # of which a copy was kept
    found = kept.array()
    expected = np.concatenate(blocks)
    assert found.dtype == expected.dtype
    assert isinstance(found, np.memmap) is (few_bytes == 300 and expected.nbytes > 300)
    np.testing.assert_array_equal(found, expected)
    found[:1] = found[-1:]  # torch asks for memory that may be written


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("num_rows", [1, 16, 50])
@pytest.mark.parametrize("has_text", [False, True])
def test_a_table_is_what_was_written(few_bytes, suffix, num_rows, has_text, tmp_path, rng):
    ids = np.array([f"row {place}" if has_text else place for place in range(num_rows)])
    labels = np.resize(["cat", "dog"] if has_text else [0, 1], num_rows)
    columns = {"id": ids, "label": labels}
    columns |= {name: rng.normal(size=num_rows).astype("f") for name in ("cat", "dog")}
    blocks = (
        {name: each[start : start + 7] for name, each in columns.items()}
        for start in range(0, num_rows, 7)
    )
    path = tmp_path / f"t{suffix}"
    write_table(path, blocks, suffix=suffix)
    found = read_table(path)
    np.testing.assert_array_equal(found["ids"], ids)
    assert found["ids"].dtype.kind == ids.dtype.kind
    np.testing.assert_array_equal(found["labels"], labels)
    np.testing.assert_array_equal(found["logits"], np.stack([columns["cat"], columns["dog"]], 1))


def test_ids_that_are_exact_but_for_a_late_one_are_text(few_bytes, tmp_path):
    ids = [*map(str, range(30)), "007"]
    lines = [f"{each},0.5,1.5" for each in ids]
    (tmp_path / "t.csv").write_text("\n".join(["id,a,b", *lines]), encoding="utf-8")
    found = read_table(tmp_path / "t.csv", is_labelled=False)
    assert found["ids"].tolist() == ids


def test_a_late_row_at_fault_is_named(few_bytes, tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"label": np.arange(40) % 2, "a": 0.5, "b": 1.5})
    frame.loc[35, "b"] = None
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"column 'b': a value in every cell .* row 35"):
        read_table(tmp_path / "t.parquet")
    lists = pandas.DataFrame({"label": 0, "logits": [[1.0, 2.0]] * 30 + [[1.0, 2.0, 3.0]] * 10})
    lists.to_parquet(tmp_path / "l.parquet")
    with pytest.raises(DataError, match="as many numbers in every list expected, got 2 to 3"):
        read_table(tmp_path / "l.parquet")
