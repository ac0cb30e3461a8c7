"""The table of classes: order, changes, and what of a thousand classes a reader is shown."""

import csv

import numpy as np
import pytest

from marr_pipeline.groups import PAPER_CUTS
from marr_pipeline.report.classes import Classes, few_rows
from marr_pipeline.report.tables import csv_table


def classes_of(num_classes, names=None):
    counts = np.arange(num_classes)  # the last is the commonest, the first absent
    labels = np.repeat(counts[1:], 2)
    return Classes.of(names, counts, labels, PAPER_CUTS)


def table_of(num_classes, names=None):
    before = np.linspace(0, 1, num_classes)
    before[0] = np.nan
    after = before.copy()
    after[num_classes // 2] -= 0.25
    return classes_of(num_classes, names).table(
        {"softmax": before, "marr": after}, reference="softmax"
    )


def test_classes_go_from_the_commonest_to_the_rarest_with_their_changes():
    table = table_of(5, ["a", "b", "c", "d", "e"])
    assert list(table.rows) == ["e", "d", "c", "b", "a"]
    assert [column.heading for column in table.columns] == [
        *("train", "scored", "group", "softmax", "marr", "change"),
    ]
    assert table.texts("c") == ["2", "2", "few", "50.0", "25.0", "-25.0"]
    assert table.texts("a") == ["0", "0", "few", "-", "-", "-"]
    assert few_rows(table).caption.endswith("change against softmax in points.")


def test_of_a_thousand_classes_the_ends_and_the_largest_changes_are_shown():
    table = table_of(1000)
    shown = few_rows(table)
    places = [int(name) for name in shown.rows]
    assert places[:10] == list(range(999, 989, -1))
    assert places[-10:] == list(range(9, -1, -1))
    assert len(places) == 30
    assert 500 in places
    assert "970 of 1,000 are not shown" in shown.caption
    assert few_rows(table_of(30)).caption == table_of(30).caption
    rows = list(csv.DictReader(csv_table(table).splitlines()))
    assert len(rows) == 1000
    assert rows[0] == {
        **{"name": "999", "train": "999", "samples": "2", "group": "many"},
        **{"softmax_accuracy": "1.0", "marr_accuracy": "1.0", "marr_vs_softmax": "0.0"},
    }
    assert float(rows[499]["marr_vs_softmax"]) == -0.25
    assert rows[-1]["softmax_accuracy"] == rows[-1]["marr_vs_softmax"] == ""


def test_classes_of_one_name_are_told_apart():
    assert list(table_of(3, ["cat", "cat", "dog"]).rows) == ["dog", "cat", "cat (0)"]


@pytest.mark.parametrize("num_classes", [2, 3])
def test_without_a_reference_there_are_no_changes(num_classes):
    accuracy = {"head": np.ones(num_classes)}
    table = classes_of(num_classes).table(accuracy, reference=None)
    assert [column.key for column in table.columns][-1] == "head_accuracy"
    assert table.caption == "Accuracy in per cent."
