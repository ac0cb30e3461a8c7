import json

import numpy as np
import pytest

from marr_pipeline.errors import DataError
from marr_pipeline.workflows.class_numbers import prior_counts

COUNTS = np.array([60, 30, 10])


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
        ("a.txt", "many few", "one number a class as .* expected, got could not convert"),
        ("a.json", "{", "one number a class as .npz"),
        (
            "a.json",
            '{"shots": [1]}',
            "got none for 0, 1, 2 and one for shots",
        ),
        ("a.npz", "text", "an .npz archive"),
        ("a.npy", "text", "an .npy file with one array of numbers expected"),
    ],
)
def test_what_is_no_count_of_every_class_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        prior_counts(str(tmp_path / name), COUNTS)
