import json

import numpy as np
import pandas
import pytest

from marr_pipeline import names
from marr_pipeline.cli.compare import FORMAT_OF_SUFFIX
from marr_pipeline.errors import DataError
from marr_pipeline.workflows.distribution import (
    WORDS,
    class_shares,
    describe_distribution,
    recorded,
    split_population,
)

COUNTS = np.array([60, 30, 10])
NAMES = ["cat", "dog", "owl"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [("uniform", [1 / 3] * 3), ("train", [0.6, 0.3, 0.1]), ("backward", [0.1, 0.3, 0.6])],
)
def test_distributions_by_word(said, expected):
    assert class_shares(said, COUNTS).tolist() == pytest.approx(expected)


FILES = {
    "list.json": "[3, 1.5, 0.5]",
    "object.json": '{"owl": 0.5, "cat": 3, "dog": 1.5}',
    "places.json": '{"2": 0.5, "0": 3, "1": 1.5}',
    "prior.json": '{"prior": [3, 1.5, 0.5]}',
    "weights.json": '{"weights": [3, 1.5, 0.5], "made": "today"}',
    "nested.json": '{"class_counts": {"owl": 0.5, "cat": 3, "dog": 1.5}}',
    "named.csv": "class,share\nowl,0.5\n cat , 3\n\ndog,1.5\n",
    "excel.csv": "\ufeffClass,Count\r\nowl,0.5\r\ncat,3\r\ndog,1.5\r\n",
    "quoted.csv": '"class","share"\n"owl","0.5"\n"cat","3"\n"dog","1.5"\n',
    "line.csv": "3,1.5,0.5\n",
    "column.csv": "3\n1.5\n0.5\n",
    "text.txt": "3 1.5, 0.5",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_a_number_for_each_class_by_name_or_in_order(tmp_path, name):
    path = tmp_path / name
    path.write_text(FILES[name], newline="")
    assert class_shares(str(path), COUNTS, NAMES).tolist() == pytest.approx([0.6, 0.3, 0.1])


def test_arrays_are_files_too(tmp_path):
    np.save(tmp_path / "q.npy", [3, 1.5, 0.5])
    np.savez(tmp_path / "q.npz", weights=[3, 1.5, 0.5], other=[1])
    for name in ("q.npy", "q.npz"):
        assert class_shares(tmp_path / name, COUNTS).tolist() == pytest.approx([0.6, 0.3, 0.1])


@pytest.mark.parametrize(
    "said",
    [
        [3, 1.5, 0.5],
        np.array([6, 3, 1]),
        {"owl": 1, "cat": 6, "dog": 3},
        pandas.Series({"owl": 1, "cat": 6, "dog": 3}),
        pandas.Series([6, 3, 1]),
    ],
    ids=["list", "array", "mapping", "series", "series in order"],
)
def test_python_gives_numbers_in_order_or_by_name(said):
    assert class_shares(said, COUNTS, NAMES).tolist() == pytest.approx([0.6, 0.3, 0.1])
    assert json.dumps(recorded(said))
    assert describe_distribution(said) == "with the class weights given"


def test_names_that_are_numbers_are_names(tmp_path):
    path = tmp_path / "q.json"
    path.write_text('{"2": 6, "1": 3, "0": 1}')
    assert class_shares(str(path), COUNTS, ["2", "1", "0"]).tolist() == pytest.approx(
        [0.6, 0.3, 0.1]
    )


def test_a_class_may_have_the_name_of_a_key(tmp_path):
    path = tmp_path / "q.json"
    path.write_text('{"prior": 1, "posterior": 3}')
    assert class_shares(path, COUNTS[:2], ["posterior", "prior"]).tolist() == [0.75, 0.25]


def test_sums_beyond_the_largest_number_are_shares():
    assert class_shares([1e308, 1e308, 0], COUNTS).tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"cat": 1, "dog": 2}', "classes cat, dog, owl expected, got none for owl; "),
        ("a.json", '{"cat": 1, "dog": 2, "owl": 1, "emu": 1}', "got one for emu; name every"),
        ("a.json", '{"Cat": 1, "dog": 2, "owl": 3}', "got none for cat and one for Cat"),
        ("a.json", '{"cat": 1, "dog": 2, "cat": 3}', "every class once expected, got cat twice"),
        ("a.json", '{"cat": null, "dog": 2, "owl": 3}', "at least 0, .* got nan"),
        ("a.json", '{"cat": "many", "dog": 2, "owl": 3}', "could not convert string .* write them"),
        ("a.json", '{"cat": -1, "dog": 2, "owl": 3}', "at least 0, .* got -1"),
        ("a.json", "[NaN, 1, 1]", "at least 0, .* got nan"),
        ("a.json", "[Infinity, 1, 1]", "at least 0, .* got inf"),
        ("a.json", "[[1, 1, 1]]", r"3 numbers expected, .* got an array \(1, 3\)"),
        ("a.json", "7", r"3 numbers expected, .* got an array \(\)"),
        ("a.csv", "class,share\ncat,1\ndog,2\n", "got none for owl"),
        ("a.csv", "class,share\ncat,1\ncat,2\n", "got cat twice"),
        ("a.csv", "class,share,note\ncat,1,x\n", "two columns, class and its number, expected"),
        ("a.csv", "class,share\ncat\n", "two columns, class and its number, expected, got cat"),
        ("a.csv", "cat,1\ndog,2\nowl,3\n", "the header class,share expected .* got cat,1; add"),
        ("a.csv", "0,1\n1,2\n2,3\n", "the header class,share expected"),
        ("a.csv", "", r"3 numbers expected, .* got an array \(0,\)"),
        ("a.txt", "cat 1 dog 2", "could not convert string"),
    ],
)
def test_what_is_no_distribution_is_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message) as refusal:
        class_shares(path, COUNTS, NAMES)
    assert str(refusal.value).startswith(f"{path}: ")


def test_numbers_from_no_file_are_refused_by_their_option():
    with pytest.raises(DataError, match=r"^target_prior: 3 numbers expected"):
        class_shares([1, 2], COUNTS, option="target_prior")
    with pytest.raises(DataError, match="zeros alone"):
        class_shares("train", np.zeros(3, dtype=np.int64))


def test_what_the_split_cannot_show_is_said():
    labels = np.array([0, 0, 1])
    population, warnings = split_population("train", labels, COUNTS)
    assert population.mass == pytest.approx([2 / 3, 1 / 3, 0])
    assert warnings == [
        "--class-distribution train: 1 of its classes have no sample in the split, 10.0% of its "
        "weight; the other classes stand for them in proportion"
    ]
    assert split_population(None, labels, COUNTS)[1] == []


def test_a_prior_on_absent_classes_alone_is_refused(tmp_path):
    path = tmp_path / "q.txt"
    path.write_text("0 0 1")
    with pytest.raises(DataError, match="weight on a class with samples expected, got none"):
        split_population(str(path), np.array([0, 1]), COUNTS)


def test_every_word_is_described_and_every_suffix_has_a_format():
    assert tuple(WORDS) == names.CLASS_DISTRIBUTIONS
    assert describe_distribution(None) == "as it is"
    assert describe_distribution("/data/q.npz") == "with the class weights of q.npz"
    assert tuple(FORMAT_OF_SUFFIX.values()) == names.TABLE_FORMATS
