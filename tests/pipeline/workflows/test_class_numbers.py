import json

import numpy as np
import pytest

from marr_pipeline import names
from marr_pipeline.cli.compare import FORMAT_OF_SUFFIX
from marr_pipeline.errors import DataError
from marr_pipeline.workflows.class_numbers import (
    DESCRIPTIONS,
    asked_distribution,
    describe_distribution,
    prior_counts,
    split_population,
)

COUNTS = np.array([60, 30, 10])


@pytest.mark.parametrize(
    ("said", "expected"),
    [("uniform", [1, 1, 1]), ("train", [60, 30, 10]), ("backward", [0.1, 0.3, 0.6])],
)
def test_distributions_by_name(said, expected):
    assert asked_distribution(said, COUNTS).tolist() == expected


@pytest.mark.parametrize("key", ["prior", "weights", "class_counts"])
def test_a_file_holds_one_weight_a_class(tmp_path, key):
    path = tmp_path / "q.json"
    path.write_text(json.dumps({key: [3, 2, 0.5]}))
    assert asked_distribution(str(path), COUNTS).tolist() == [3, 2, 0.5]
    np.savez(path.with_suffix(".npz"), **{key: [1.0, 2.0, 3.0]})
    assert asked_distribution(str(path.with_suffix(".npz")), COUNTS).tolist() == [1, 2, 3]


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


def test_every_name_is_described_and_every_suffix_has_a_format():
    assert tuple(DESCRIPTIONS) == names.CLASS_DISTRIBUTIONS
    assert describe_distribution(None) == "as it is"
    assert describe_distribution("/data/q.npz") == "with the class weights of q.npz"
    assert tuple(FORMAT_OF_SUFFIX.values()) == names.TABLE_FORMATS


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.json", "shots.json", "a.txt"])
def test_prior_counts_are_read_from_every_format(tmp_path, name):
    path, counts = tmp_path / name, [7, 2.5, 0]
    if name == "a.npz":
        np.savez(path, class_counts=counts)
    elif name == "a.npy":
        np.save(path, counts)
    else:
        shots = {"train_shots": counts} if name == "shots.json" else counts
        path.write_text("7\n2.5\n0" if name == "a.txt" else json.dumps(shots))
    assert prior_counts(str(path), COUNTS).tolist() == counts


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "1 2", "3 numbers expected, one a class in class order, got an array"),
        ("a.json", "[1, 1, -4]", "numbers of at least 0, .* got -4.0"),
        ("a.json", "[0, 0, 0]", "not all of them 0, expected, got zeros alone"),
        ("a.txt", "many few", "one number a class expected .* could not convert"),
        ("a.json", "{", "one number a class expected as .npz"),
        ("a.json", '{"shots": [1]}', "numbers under prior_counts or .* got shots"),
        ("a.npz", "text", "an .npz archive"),
        ("a.npy", "text", "one number a class expected"),
    ],
)
def test_what_is_no_count_of_every_class_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        prior_counts(str(tmp_path / name), COUNTS)
