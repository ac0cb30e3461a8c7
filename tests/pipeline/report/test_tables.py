import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.errors import ConfigError
from marr_pipeline.names import METHODS, TABLE_COLUMNS, TABLE_FORMATS
from marr_pipeline.report.compared import COLUMNS, FORMATS, Layout, Notes, comparison_text
from marr_pipeline.report.latex import PROPER_NAMES, latex_table, proper_name
from marr_pipeline.report.tables import (
    Column,
    Estimate,
    Table,
    cell_text,
    csv_table,
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
        ("difference", -0.0004, "+0.0"),
        ("correlation", -0.001, "+0.00"),
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
        (Estimate(value=0.0, std=0.0), "+0.0 ± 0.0"),
    ],
)
def test_cells_say_how_sure_they_are(cell, text):
    assert cell_text(cell, GAIN) == text


def test_a_count_has_a_spread_where_caches_differ():
    params = Column(key="parameters", heading="params", notation="count")
    assert cell_text(Estimate(value=20, std=0.0), params) == "20"
    assert cell_text(Estimate(value=20, std=2.0), params) == "20 ± 2"


def test_the_terminal_stands_in_columns():
    assert terminal_table(TABLE).splitlines() == [
        "                        overall    NLL           vs softmax   status",
        "softmax                    50.0  1.250                    -   closed_form",
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
    assert r"\begin{tabular}{lrrrl}" in text
    assert r"Softmax & 50.0 & \textbf{1.250} & -- & closed\_form \\" in text
    assert r"\textbf{61.2 [59.0, 63.0]} & -- & $+$11.2 [$-$1.0, $+$20.0]$^*$ &" in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}\n") == 1


def test_latex_leaves_the_hyphens_of_names_alone():
    text = latex_table(column_of({"tau-norm": 0.5}, std=0.01))
    assert r"$\tau$-norm & \textbf{50.0 $\pm$ 1.0} \\" in text


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


def test_every_format_and_column_has_its_name():
    assert tuple(FORMATS) == TABLE_FORMATS
    assert tuple(COLUMNS) == TABLE_COLUMNS
    assert tuple(PROPER_NAMES) == METHODS


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("logit-adjustment", "Logit adjustment"),
        ("tau-norm", r"$\tau$-norm"),
        ("marr:paper", "MARR (paper)"),
        ("my_fit #2", r"my\_fit \#2"),
        ("own:a&b", r"own:a\&b"),
    ],
)
def test_methods_have_proper_names_in_print(key, name):
    assert proper_name(key) == name


@pytest.mark.parametrize(
    ("values", "best"),
    [({"a": 0.0004, "b": -0.1}, []), ({"a": -0.01}, []), ({"a": 0.02, "b": 0.01}, ["a"])],
)
def test_a_difference_is_best_only_where_it_is_a_gain(values, best):
    gain = replace(GAIN, best="largest")
    rows = {name: {"gain": Estimate(value=value)} for name, value in values.items()}
    assert sorted(Table(columns=[gain], rows=rows).best_rows(gain)) == best


COMPARED = {
    "marr": {
        "overall": Estimate(value=0.5, interval=(0.4, 0.6)),
        "nll": Estimate(value=1.0, interval=(0.9, 1.1)),
        "vs_softmax": Estimate(value=0.25, interval=(0.2, 0.3), p_holm=0.01),
    }
}


def compared(**layout):
    return comparison_text(
        COMPARED,
        notes=Notes(rows="Rows.", spread="Spread.", gains="Gains.", correlations="rho."),
        table_format="latex",
        layout=Layout(**layout),
    )


def test_a_table_of_chosen_columns_in_their_order():
    text = compared(columns=("vs_softmax", "nll", "overall"), label="tab:c10")
    assert text.count(r"\begin{table}") == 1
    assert "\\caption{Rows. Spread. Gains.}\n\\label{tab:c10}\n" in text
    cells = r"$+$25.0 [$+$20.0, $+$30.0]$^*$} & \textbf{1.000} & \textbf{50.0 [40.0, 60.0]} \\"
    assert rf"MARR & \textbf{{{cells}" in text
    assert r"\caption{Rows.}" in compared(columns=("nll",))
    assert r"\caption{Mine \& yours}" in compared(columns=("nll",), caption="Mine & yours")


@pytest.mark.parametrize(
    ("key", "is_said"), [("marr:paper", True), ("lws:official", True), ("lws:tempered", False)]
)
def test_a_table_with_presets_says_which_is_the_paper_s(key, is_said):
    rows = COMPARED | {key: COMPARED["marr"]}
    text = comparison_text(rows, table_format="markdown")
    assert text.count(":paper the published objective") == is_said


def test_intervals_are_of_all_numbers_or_of_none():
    columns = ("overall", "nll", "vs_softmax")
    assert "1.000 [0.900, 1.100]" in compared(columns=columns, has_intervals=True)
    bare = compared(has_intervals=False)
    assert "[" not in bare
    assert r"$+$25.0$^*$" in bare
    spread = {"marr": {"overall": Estimate(value=0.5, std=0.01)}}
    layout = Layout(columns=("overall",), has_intervals=False)
    text = comparison_text(spread, table_format="csv", layout=layout)
    assert text == "name,overall\nmarr,0.5"


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"columns": ("speed",)}, "columns: .*got speed"),
        ({"caption": "Mine"}, "caption: of one table expected"),
        ({"label": "tab:x"}, "label: of one table expected"),
        ({"label": "tab:{x}", "columns": ("nll",)}, "label: a name such as"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(layout, message):
    with pytest.raises(ConfigError, match=message):
        Layout(**layout)


MARKED = Table(
    columns=(OVERALL, NLL, GAIN, STATUS),
    rows={
        "softmax": {"overall": Estimate(value=0.5), "nll": Estimate(value=1.25), "status": "-"},
        "a": {"overall": Estimate(value=0.6, is_apart=True), "nll": Estimate(value=1.2)},
        "b": {
            "overall": Estimate(value=0.4, is_apart=False),
            "nll": Estimate(value=1.3, is_apart=True),
            "gain": Estimate(value=-0.1, p_holm=0.01),
        },
        "c": {"overall": Estimate(value=0.5001), "nll": Estimate(value=NAN)},
        "untested": {"overall": Estimate(value=0.6), "nll": Estimate(value=1.3)},
    },
    reference="softmax",
)


def test_numbers_are_marked_better_or_worse_than_the_reference_as_they_read():
    marks = {name: [MARKED.mark(name, column) for column in MARKED.columns] for name in MARKED.rows}
    assert marks == {
        "softmax": ["", "", "", ""],
        "a": ["+", "", "", ""],
        "b": ["~", "-", "", ""],
        "c": ["", "", "", ""],
        "untested": ["+", "-", "", ""],
    }
    assert MARKED.texts("b") == ["40.0~", "1.300-", "-10.0*", "-"]
    assert replace(MARKED, reference="").texts("b") == ["40.0", "1.300", "-10.0*", "-"]
    lines = terminal_table(MARKED).splitlines()
    assert [line.index(".") for line in lines[1:4]] == [lines[1].index(".")] * 3
    assert "~" not in csv_table(MARKED)


def test_a_difference_is_beyond_chance_by_its_test_or_else_by_its_interval():
    assert Estimate(value=0.1, p_holm=0.01, interval=(-1, 1)).is_beyond_chance
    assert not Estimate(value=0.1, p_holm=0.2, interval=(0.05, 1)).is_beyond_chance
    assert Estimate(value=-0.1, interval=(-0.2, -0.05)).is_beyond_chance
    assert not Estimate(value=-0.1, interval=(-0.2, 0.05)).is_beyond_chance
    assert not Estimate(value=-0.1).is_beyond_chance


def test_latex_has_no_marks_and_others_say_what_theirs_are():
    notes = Notes(marks="+ better.")
    for table_format in TABLE_FORMATS:
        text = comparison_text(
            MARKED.rows, table_format=table_format, notes=notes, reference="softmax"
        )
        assert ("60.0+" in text) == (table_format in ("terminal", "markdown"))
        assert ("+ better." in text) == (table_format in ("terminal", "markdown"))
