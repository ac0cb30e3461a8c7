import csv
from dataclasses import replace

import numpy as np
import pytest

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.class_axis import ClassAxis, running_mean
from marr_pipeline.plots.curves import ClassCurves, draw_curves
from marr_pipeline.plots.save import save_drawing

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LONG_NAMES = [f"great white shark number {i}" for i in range(16)]


def line_heights(axes):
    """The y values of each line that stands in the legend."""
    return [np.asarray(line.get_ydata()) for line in axes.get_lines() if line.get_label()[0] == " "]


def figure_texts(figure):
    return [text.get_text().strip() for axes in figure.axes[:3] for text in axes.legend_.texts]


@pytest.mark.parametrize("num_classes", [1, 2, 10, 100])
def test_table_holds_the_inputs_from_head_to_tail(num_classes, make_data):
    data = make_data(num_classes)
    _, table = draw_curves(data.axis, data.curves)
    ids = np.asarray(table["class_id"])
    assert sorted(ids) == list(range(num_classes))
    assert (np.diff(table["class_count"]) <= 0).all()
    np.testing.assert_array_equal(table["class_count"], data.axis.class_counts[ids])
    np.testing.assert_array_equal(table["rank"], np.arange(num_classes) + 1)
    assert all(data.axis.groups[g][i] for g, i in zip(table["group"], ids, strict=True))
    for name, series in data.curves.items():
        for quantity in ("mean_logit", "mean_margin", "accuracy"):
            values = getattr(series, quantity)[ids]
            np.testing.assert_array_equal(table[f"{name}.{quantity}"], values)
            smooth = table.get(f"{name}.smooth_{quantity}")
            assert (smooth is not None) == (num_classes > 50)
            if smooth is not None:
                np.testing.assert_array_equal(smooth, running_mean(values))
        assert set(table[f"{name}.logit_correlation"]) == {0.93}
        assert set(table[f"{name}.margin_correlation"]) == {-0.5}


@pytest.mark.parametrize("num_classes", [10, 100])
def test_lines_show_the_numbers_of_the_table(num_classes, make_data):
    data = make_data(num_classes)
    figure, table = draw_curves(data.axis, data.curves)
    prefix = "smooth_" if num_classes > 50 else ""
    for axes, quantity, unit in zip(
        figure.axes[:3], ("mean_logit", "mean_margin", "accuracy"), (1, 1, 100), strict=True
    ):
        for line, name in zip(line_heights(axes), data.curves, strict=True):
            np.testing.assert_allclose(line, unit * np.asarray(table[f"{name}.{prefix}{quantity}"]))


def test_the_legend_gives_correlation_mean_and_spread():
    curves = ClassCurves(
        mean_logit=np.array([4.0, 2.0, np.nan]),
        mean_margin=np.full(3, np.nan),
        accuracy=np.array([1.0, 0.5, np.nan]),
        logit_correlation=-0.934,
        margin_correlation=np.nan,
    )
    counts = np.array([9, 8, 7])
    axis = ClassAxis(class_counts=counts, groups={"few": np.ones(3, np.bool_)})
    figure, _ = draw_curves(axis, {"marr": curves})
    assert figure_texts(figure) == [
        "marr   ρ −0.93   sd 1.00",
        "marr   ρ –   sd –",
        "marr   mean 75.0   sd 25.0",
    ]


@pytest.mark.parametrize(
    ("num_classes", "names", "series"),
    [
        (1, None, ("softmax",)),
        (2, None, ("softmax", "marr")),
        (10, CIFAR, ("softmax", "marr")),
        (16, LONG_NAMES, ("_x", "logit-adjustment", "a" * 50, "cost $1 and $2")),
        (30, None, tuple("abcdefg")),
        (100, None, ("softmax", "marr")),
        (1000, None, ("softmax", "logit-adjustment", "marr")),
    ],
)
def test_nothing_overlaps_and_all_is_readable(num_classes, names, series, make_data, see):
    data = make_data(num_classes, series=series, names=names)
    figure, _ = draw_curves(data.axis, data.curves)
    seen = see(figure)
    assert seen.overlaps() == []
    assert seen.cut_off() == []
    assert seen.smallest_font() >= 7
    assert len(seen.legends) == 3
    for axes, box in seen.legends:
        assert box.y0 >= axes.bbox.y1
        assert len(axes.legend_.texts) == len(series)


@pytest.mark.parametrize("counts", [[0, 0, 0], [300, 0, 150], [1, 1, 1]])
def test_absent_classes_and_empty_groups_draw(counts, make_data, see):
    data = make_data(3)
    class_counts = np.array(counts)
    absent = replace(
        data.curves["marr"], mean_logit=np.full(3, np.nan), accuracy=np.full(3, np.nan)
    )
    groups = {"many": class_counts > 0, "medium": class_counts > 999, "few": class_counts < 1}
    axis = ClassAxis(class_counts=class_counts, groups=groups)
    figure, _ = draw_curves(axis, {"marr": absent})
    assert see(figure).overlaps() == []
    labels = {text.get_text() for text in figure.axes[0].texts}
    assert labels == {name for name, members in groups.items() if members.any()}


def test_names_of_narrow_groups_stand_side_by_side(make_data, see):
    data = make_data(60)
    groups = {
        "many": data.axis.class_counts > 6,
        "medium": data.axis.class_counts == 6,
        "few": data.axis.class_counts == 5,
    }
    assert 0 < groups["few"].sum() < 4
    figure, _ = draw_curves(replace(data.axis, groups=groups), data.curves)
    assert see(figure).overlaps() == []


def test_picture_and_numbers_are_saved_together(make_data, tmp_path):
    data = make_data(10, names=CIFAR)
    drawing = draw_curves(data.axis, data.curves)
    table = drawing.table
    _, path = save_drawing(drawing, tmp_path / "curves.png")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class_name"] for row in rows] == [CIFAR[i] for i in table["class_id"]]
    margins = [float(row["softmax.mean_margin"]) for row in rows]
    np.testing.assert_array_equal(margins, table["softmax.mean_margin"])


@pytest.mark.parametrize("count", [0, 8])
def test_too_few_or_too_many_series_are_refused(count, make_data):
    data = make_data(3, series=tuple("abcdefgh"[:count]))
    with pytest.raises(PlotError, match=f"curves: 1 to 7 series expected, got {count}"):
        draw_curves(data.axis, data.curves)


def test_curves_of_another_dataset_are_refused(make_data):
    data, other = make_data(3), make_data(4)
    with pytest.raises(PlotError, match=r"curves\['softmax'\]: 3 classes expected.*got 4"):
        draw_curves(data.axis, other.curves)


def test_a_perfect_correlation_may_be_rounded_up(make_data):
    curves = replace(make_data(3).curves["marr"], logit_correlation=np.nextafter(1.0, 2.0))
    assert curves.logit_correlation > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accuracy": np.ones(2)}, r"one shape \(K,\) expected, got .*'accuracy': \(2,\)"),
        ({"accuracy": np.array([0.5, 64.6, 1])}, r"accuracy: values in 0\.\.1 or NaN .* got 64\.6"),
        ({"mean_logit": np.array([1.0, np.inf, 0])}, r"mean_logit: values in .* got inf"),
        ({"logit_correlation": 1.5}, r"logit_correlation: values in -1\.\.1 or NaN .* got 1\.5"),
    ],
)
def test_impossible_curves_are_refused(changes, message, make_data):
    with pytest.raises(PlotError, match=message):
        replace(make_data(3).curves["marr"], **changes)
