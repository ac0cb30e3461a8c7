"""Logits as text: read to the bit, or refused with the line that does not fit."""

import csv

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marr_pipeline.errors import DataError
from marr_pipeline.workflows.arrays.rows import split_arrays
from marr_pipeline.workflows.arrays.table import read_table

TABLE = "id,label,cat,dog,owl\nimg_1.png,0,3.25,-1.5,0.75\nimg_2.png,2,1e-3,2,-3\n"


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "t.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_the_documented_example(table):
    found = read_table(table(TABLE))
    assert found["labels"].tolist() == [0, 2]
    assert found["labels"].dtype == np.int64
    np.testing.assert_array_equal(
        found["logits"], np.array([[3.25, -1.5, 0.75], [1e-3, 2, -3]], np.float32)
    )
    assert found["ids"].tolist() == ["img_1.png", "img_2.png"]
    assert found["class_names"].tolist() == ["cat", "dog", "owl"]


@pytest.mark.parametrize(
    "text",
    [
        TABLE.replace("\n", "\r\n"),
        "\ufeff" + TABLE,
        TABLE.rstrip("\n"),
        TABLE.replace("img_1.png", '"img_1.png"').replace("cat", '"cat"'),
        TABLE.replace(",", " , ").replace(" , ", ", "),
    ],
    ids=["windows", "byte order mark", "no last newline", "quotes", "spaces"],
)
def test_dialects(table, text):
    plain, found = read_table(table(TABLE)), read_table(table(text))
    assert plain.keys() == found.keys()
    for name, array in plain.items():
        np.testing.assert_array_equal(found[name], array)


def test_label_and_id_may_stand_anywhere(table):
    found = read_table(table("a,label,b,id\n1,0,2,x\n3,1,4,y\n"))
    assert found["logits"].tolist() == [[1, 2], [3, 4]]
    assert found["labels"].tolist() == [0, 1]
    assert found["ids"].tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["7", "-1", "1099511627776"], [7, -1, 2**40]),
        (["007", "8", "9"], ["007", "8", "9"]),
        (["a,b", "8", ""], ["a,b", "8", ""]),
        (["9" * 30, "8", "1"], ["9" * 30, "8", "1"]),
    ],
)
def test_ids_are_numbers_only_if_nothing_is_lost(table, ids, expected):
    rows = "".join(f'"{name}",0,1,2\n' for name in ids)
    assert read_table(table("id,label,a,b\n" + rows))["ids"].tolist() == expected


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ("0,1", 0),
        ("logit_0,logit_1", 0),
        ("X1,X2", 1),
        ("prob[0],prob[1]", 0),
        ("Class 1,Class 2", 1),
    ],
)
def test_columns_that_only_count_name_no_classes_and_labels_count_as_they_do(table, names, first):
    found = read_table(table(f"label,{names}\n{first},1,2\n{first + 1},3,4\n"))
    assert "class_names" not in found
    assert found["labels"].tolist() == [0, 1]


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(rows=st.lists(st.tuples(st.integers(0, 2), FLOATS, FLOATS, FLOATS), min_size=1, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_float32_comes_back(tmp_path, rows):
    path = tmp_path / "any.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["label", "a", "b", "c"], *rows])
    found = read_table(path)
    np.testing.assert_array_equal(found["labels"], [row[0] for row in rows])
    np.testing.assert_array_equal(found["logits"], np.array([row[1:] for row in rows], np.float32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one column 'label' .* got nothing"),
        ("0,1.5,2.5\n", "one column 'label' .* got 0, 1.5, 2.5; write a column 'label'"),
        ("id,target,a,b\nx,0,1,2\n", "got id, target, a, b"),
        ("label;a;b\n0;1;2\n", "got label;a;b"),
        ("label,a,a\n0,1,2\n", "a name of its own for each other column expected, got label, a, a"),
        ("label,a,b\n", "UTF-8 text expected, got no row below the header"),
        ("label,a,b\n0,1,2\n1,x,2\n", "got 'x' in line 3, column 'a'"),
        ("label,a,b\n0,1,2\n1,,2\n", "got '' in line 3, column 'a'"),
        ("label,a,b\n0,1,2\ncat,1,2\n", "got 'cat' beside labels that are numbers in line 3"),
        ("label,a,b\ncat,1,2\n,1,2\n", "got '' in line 3, column 'label'"),
        ("label,Label,a,b\n0,1,2,3\n", "one column 'label' .* got label, Label, a, b"),
        ("id,ID,label,a\n0,1,2,3\n", "one column 'label' .* got id, ID"),
        ("label,1,2\n0,1,2\n", "labels that count from 1, as the columns do, expected, got 0"),
        ("label,a,b\n0,1,2\n1,2\n", "got 2 columns in line 3 under 3 names"),
        ("label,a,b\n0,1,2,3\n1,1,2,3\n", "got 4 columns in line 2 under 3 names"),
        ("label,a,b\n0,1;5,2\n", "got '1;5' in line 2, column 'a'"),
        ("label,logit_0,logit_1,logit_10,logit_2\n0,1,2,3,4\n", "got column 10 where 2 was due"),
        (f"label,a,b\n0,{'9' * 200_000},1\n", "got field larger than field limit"),
        (f"label,a,b\n0,{'x' * 100_000},1\n", "got 'x{299} [.]{3}; write a column"),
    ],
)
def test_what_is_no_such_table(table, text, message):
    path = table(text)
    with pytest.raises(DataError, match=message) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding(table, encoding):
    with pytest.raises(DataError, match="comma-separated UTF-8 text expected"):
        read_table(table(TABLE.replace("cat", "dög"), encoding))


@pytest.mark.parametrize(("label", "got"), [("0.5", "float64"), ("nan", "float64")])
def test_a_label_that_is_no_class_id_is_refused_as_in_any_file(table, label, got):
    arrays = read_table(table(f"label,a,b\n0,1,2\n{label},3,4\n"))
    with pytest.raises(DataError, match=f"labels: integers expected, got {got}"):
        split_arrays(arrays, where="t.csv")
