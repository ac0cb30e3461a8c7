import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marr_pipeline.data.list_file import read_lists
from marr_pipeline.errors import DataError

names = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8)


def read_list(path):
    return read_lists({"train": path})["train"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=st.lists(st.tuples(names, st.integers(0, 9999)), min_size=1, unique_by=lambda i: i[0]),
    gap=st.sampled_from([" ", "\t", "   "]),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_what_is_written_is_read(images, gap, end, tmp_path):
    path = tmp_path / "list.txt"
    text = "".join(f"train/{name}.jpg{gap}{label}{end}" for name, label in images)
    path.write_bytes(text.encode())
    found = read_list(path)
    assert found.image_paths == tuple(f"train/{name}.jpg" for name, _ in images)
    assert found.labels.tolist() == [label for _, label in images]
    assert found.class_names == {}


def test_lines_are_those_of_the_file(write_list):
    found = read_list(write_list("a.jpg 0", "", "b.jpg 1", "c.jpg 1"))
    assert found.lines.tolist() == [1, 3, 4]
    assert found.where(1).endswith("train.txt, line 3")


def test_a_csv_has_blanks_commas_and_names(write_list):
    path = write_list(
        "label,path,class,photographer",
        "0,my photos/cat 1.jpg,house cat,A",
        '1,"dogs/rex, old.jpg",dog,"B, C"',
        name="all.csv",
    )
    found = read_list(path)
    assert found.image_paths == ("my photos/cat 1.jpg", "dogs/rex, old.jpg")
    assert found.labels.tolist() == [0, 1]
    assert found.class_names == {0: "house cat", 1: "dog"}


def test_a_byte_order_mark_and_backslashes_are_read(tmp_path):
    path = tmp_path / "windows.csv"
    path.write_bytes("path,label\r\ntrain\\a.jpg,0\r\n./train/b.jpg,0\r\n".encode("utf-8-sig"))
    assert read_list(path).image_paths == ("train/a.jpg", "train/b.jpg")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.jpg 0", "my b.jpg 1"], r"line 2: a path without blanks .* 3 fields: 'my b.jpg 1'"),
        (["a.jpg"], r"line 1: a path without blanks and a label expected, got 1 fields"),
        (["a.jpg cat", "b.jpg 0"], r"line 1: a label from 0 expected, got 'cat'"),
        (["a.jpg 1.5"], r"line 1: a label from 0 expected, got '1\.5'"),
        (["a.jpg 1_0"], r"line 1: a label from 0 expected, got '1_0'"),
        (["a.jpg 0", "b.jpg -1"], r"line 2: .* got '-1'; -1 marks open-set images, leave them out"),
        (["a.jpg 0", "b.jpg 1", "a.jpg 1"], r"line 3: every image once .* a.jpg as in line 1"),
        (["a.jpg 0", "./a.jpg 0"], r"line 2: every image once"),
        ([""], r"train.txt: lines `path label`.* expected, got no image"),
        (["path,label"], r"got no image; is this the right file"),
        (["path,kind", "a.jpg,0"], r"line 1: columns path and label expected, got path, kind"),
        (["path,label", "a.jpg,0,0"], r"line 2: 2 fields as in the header expected, got 3"),
        (["path,label", ",0"], r"line 2: a path expected, got none"),
        (
            ["path,label,class", "a.jpg,0,cat", "b.jpg,0,dog"],
            r"line 3: class 'cat' for label 0 .* expected, got 'dog'",
        ),
    ],
)
def test_a_malformed_list_names_file_and_line(lines, message, write_list):
    with pytest.raises(DataError, match=message) as caught:
        read_list(write_list(*lines))
    assert "train.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(np.arange(128, 256, dtype=np.uint8).tobytes())
    with pytest.raises(DataError, match=r"image.jpg: a list in UTF-8 expected"):
        read_list(path)
