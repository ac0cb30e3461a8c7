import csv
from dataclasses import replace

import numpy as np
import pytest

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.class_axis import running_mean
from marr_pipeline.plots.classwise import ClassScores, draw_classwise
from marr_pipeline.plots.save import save_drawing

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LONG = ("softmax", "logit-adjustment", "balanced-softmax-head (official)", "a_" * 40, "$x$", "_f")


@pytest.mark.parametrize("num_classes", [1, 10, 100])
def test_the_table_holds_the_scores_from_head_to_tail(num_classes, make_data, tmp_path):
    data = make_data(num_classes)
    _, path = save_drawing(draw_classwise(data.axis, data.scores), tmp_path / "a.png")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = [int(row["class_id"]) for row in rows]
    assert ids == data.axis.order.tolist()
    for name, series in data.scores.items():
        for quantity in ("accuracy", "f1"):
            values = getattr(series, quantity)[ids]
            shown = [float(row[f"{name}.{quantity}"]) for row in rows]
            np.testing.assert_array_equal(shown, values)
            smooth = [float(row.get(f"{name}.smooth_{quantity}", "nan")) for row in rows]
            expected = running_mean(values) if num_classes > 50 else np.full(num_classes, np.nan)
            np.testing.assert_array_equal(smooth, expected)
        assert {float(row[f"{name}.overall"]) for row in rows} == {series.overall}
        assert {float(row[f"{name}.macro_f1"]) for row in rows} == {series.macro_f1}


@pytest.mark.parametrize("width", ["page", "column"])
def test_marks_and_means_stand_at_their_numbers(width, make_data):
    data = make_data(10)
    figure, table = draw_classwise(data.axis, data.scores, width=width)
    for panel, quantity in zip(figure.axes[0:4:2], ("accuracy", "f1"), strict=True):
        marks = [line for line in panel.get_lines() if line.get_marker() not in ("", "None")]
        for line, name in zip(marks, data.scores, strict=True):
            np.testing.assert_allclose(line.get_ydata(), 100 * table[f"{name}.{quantity}"])
            np.testing.assert_allclose(np.round(line.get_xdata()), np.arange(10))
    for strip, mean in zip(figure.axes[1:4:2], ("overall", "macro_f1"), strict=True):
        expected = {f"{100 * getattr(series, mean):.1f}" for series in data.scores.values()}
        assert expected <= {text.get_text() for text in strip.texts}


@pytest.mark.parametrize("width", ["page", "column"])
@pytest.mark.parametrize(
    ("num_classes", "names", "series"),
    [
        (1, None, ("softmax",)),
        (10, CIFAR, ("softmax", "marr (default)")),
        (10, CIFAR, LONG),
        (40, None, tuple("abcdefg")),
        (100, None, LONG[:4]),
        (1000, None, ("softmax", "marr (default)")),
    ],
)
def test_nothing_overlaps_and_all_is_readable(num_classes, names, series, width, make_data, see):
    data = make_data(num_classes, series=series, names=names)
    figure, _ = draw_classwise(data.axis, data.scores, width=width)
    assert figure.get_figwidth() == {"page": 7.16, "column": 3.5}[width]
    seen = see(figure)
    assert seen.overlaps() == []
    assert seen.cut_off() == []
    assert seen.smallest_font() >= 7
    assert len(figure.legends[0].texts) == len(series)


def test_series_differ_in_grey_and_the_one_before_is_hollow(make_data):
    data = make_data(100, series=tuple("abcdefg"))
    figure, _ = draw_classwise(data.axis, data.scores)
    handles = figure.legends[0].legend_handles
    assert len({line.get_marker() for line in handles}) == 7
    assert len({str(line._dash_pattern) for line in handles}) == 7
    assert [line.get_markerfacecolor() == "white" for line in handles] == [True] + 6 * [False]


def test_classes_and_means_that_do_not_exist_leave_gaps(make_data, see):
    data = make_data(3, series=("softmax",))
    gaps = np.array([0.5, np.nan, np.nan])
    absent = ClassScores(accuracy=gaps, f1=gaps, overall=np.nan, macro_f1=np.nan)
    figure, table = draw_classwise(data.axis, {"softmax": absent})
    assert see(figure).overlaps() == []
    assert np.isnan(np.asarray(table["softmax.f1"])).sum() == 2


@pytest.mark.parametrize("count", [0, 8])
def test_too_few_or_too_many_series_are_refused(count, make_data):
    data = make_data(3, series=tuple("abcdefgh"[:count]))
    with pytest.raises(PlotError, match=f"scores: 1 to 7 series expected, got {count}"):
        draw_classwise(data.axis, data.scores)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"f1": np.ones(2)},
            r"ClassScores: values of one shape \(K,\) expected, got .*'f1': \(2,\)}; pass",
        ),
        ({"accuracy": np.array([0.5, 64.6, 1])}, r"accuracy: values in 0\.\.1 or NaN .* got 64\.6"),
        ({"macro_f1": -0.5}, r"macro_f1: values in 0\.\.1 or NaN expected, got -0\.5"),
    ],
)
def test_impossible_scores_are_refused(changes, message, make_data):
    with pytest.raises(PlotError, match=message):
        replace(make_data(3).scores["marr"], **changes)
