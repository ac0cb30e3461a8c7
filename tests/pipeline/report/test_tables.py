import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.names import TABLE_FORMATS
from marr_pipeline.report.tables import (
    FORMATS,
    Column,
    Estimate,
    Table,
    cell_text,
    csv_table,
    latex_table,
    markdown_table,
    number_text,
    terminal_table,
)

NAN = float("nan")
OVERALL = Column(key="overall", heading="overall", best="largest", has_interval=True)
NLL = Column(key="nll", heading="NLL", notation="decimal", best="smallest")
GAIN = Column(key="gain", heading="vs softmax", notation="difference", has_interval=True)
STATUS = Column(key="status", heading="status", notation="text")
TABLE = Table(
    columns=(OVERALL, NLL, GAIN, STATUS),
    rows={
        "softmax": {
            "overall": Estimate(value=0.5),
            "nll": Estimate(value=1.25, interval=(1.0, 1.5)),
            "status": "closed_form",
        },
        "lws:official": {
            "overall": Estimate(value=0.61234, interval=(0.59, 0.63)),
            "nll": Estimate(value=NAN),
            "gain": Estimate(value=0.11234, interval=(-0.01, 0.2), p_holm=0.049),
            "status": "schedule_end",
            "not asked for": "nothing",
        },
    },
    caption="Test: 50 % of it, p < 0.05.",
)


def column_of(values, **facts):
    return Table(
        columns=[OVERALL],
        rows={name: {"overall": Estimate(value=v, **facts)} for name, v in values.items()},
    )


@pytest.mark.parametrize(
    ("notation", "value", "text"),
    [
        ("percent", 0.5, "50.0"),
        ("difference", 0.0151, "+1.5"),
        ("difference", -0.2, "-20.0"),
        ("decimal", 1.23456, "1.235"),
        ("correlation", -0.876, "-0.88"),
        ("seconds", 0.0123, "0.01"),
        ("count", 16284.0, "16,284"),
        ("percent", NAN, "-"),
    ],
)
def test_numbers_as_they_are_written(notation, value, text):
    assert number_text(value, notation) == text


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (Estimate(value=NAN, interval=(NAN, NAN)), "-"),
        (Estimate(value=0.015, interval=(0.009, 0.021), p_holm=0.04), "+1.5 [+0.9, +2.1]*"),
        (Estimate(value=0.015, interval=(0.009, 0.021), p_holm=0.05), "+1.5 [+0.9, +2.1]"),
        (Estimate(value=-0.015, std=0.003), "-1.5 ± 0.3"),
        (Estimate(value=0.0, std=0.0), "+0.0"),
    ],
)
def test_cells_say_how_sure_they_are(cell, text):
    assert cell_text(cell, GAIN) == text


def test_the_terminal_stands_in_columns():
    assert terminal_table(TABLE).splitlines() == [
        "                        overall    NLL           vs softmax         status",
        "softmax                    50.0  1.250                    -    closed_form",
        "lws:official  61.2 [59.0, 63.0]      -  +11.2 [-1.0, +20.0]*  schedule_end",
        "Test: 50 % of it, p < 0.05.",
    ]


def test_a_caption_is_no_wider_than_its_table():
    table = replace(column_of({"one": 1.0}), caption="a b " * 20)
    width = max(map(len, terminal_table(table).splitlines()[:2]))
    assert max(map(len, terminal_table(table).splitlines())) <= width


def test_markdown_sets_the_best_in_bold():
    lines = markdown_table(TABLE).splitlines()
    assert lines[0] == "|  | overall | NLL | vs softmax | status |"
    assert lines[2] == "| softmax | 50.0 | **1.250** | - | closed_form |"
    assert lines[3].split(" | ")[1:4] == [
        "**61.2 [59.0, 63.0]**",
        "-",
        r"+11.2 [-1.0, +20.0]\*",
    ]
    assert lines[-1] == "Test: 50 % of it, p < 0.05."


def test_latex_escapes_text_and_sets_signs_in_mathematics():
    text = latex_table(TABLE)
    assert r"\caption{Test: 50 \% of it, p $<$ 0.05.}" in text
    assert r"\begin{tabular}{lrrrr}" in text
    assert r"softmax & 50.0 & \textbf{1.250} & -- & closed\_form \\" in text
    assert r"\textbf{61.2 [59.0, 63.0]} & -- & $+$11.2 [$-$1.0, $+$20.0]$^*$ &" in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}\n") == 1


def test_latex_leaves_the_hyphens_of_names_alone():
    text = latex_table(column_of({"tau-norm": 0.5}, std=0.01))
    assert r"tau-norm & \textbf{50.0 $\pm$ 1.0} \\" in text


def test_csv_rounds_nothing_and_names_the_parts():
    rows = list(csv.DictReader(io.StringIO(csv_table(TABLE))))
    assert list(rows[0]) == [
        "name",
        *("overall", "overall_low", "overall_high"),
        *("nll", "nll_low", "nll_high"),
        *("gain", "gain_low", "gain_high", "gain_p_holm"),
        "status",
    ]
    assert rows[0]["name"] == "softmax"
    assert float(rows[1]["overall"]) == 0.61234
    assert float(rows[1]["gain_low"]) == -0.01
    assert rows[1]["nll"] == rows[0]["gain"] == rows[0]["overall_low"] == ""


def test_csv_of_seeds_has_standard_deviations():
    assert (
        csv_table(column_of({"marr": 0.5}, std=0.25)) == "name,overall,overall_std\nmarr,0.5,0.25"
    )


def test_values_that_read_the_same_are_best_together():
    table = column_of({"a": 0.5001, "b": 0.5004, "c": 0.499, "d": NAN})
    assert table.best_rows(OVERALL) == {"a", "b"}


def test_no_row_is_the_best_where_nothing_is_better():
    assert TABLE.best_rows(GAIN) == TABLE.best_rows(STATUS) == frozenset()
    assert column_of({"one": NAN}).best_rows(OVERALL) == frozenset()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_the_best_reads_at_least_as_well_as_every_other(values):
    best = column_of({str(index): value for index, value in enumerate(values)}).best_rows(OVERALL)
    assert str(max(range(len(values)), key=values.__getitem__)) in best


def test_every_format_has_its_writer():
    assert tuple(FORMATS) == TABLE_FORMATS
