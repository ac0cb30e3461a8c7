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
