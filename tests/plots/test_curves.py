from dataclasses import replace

import numpy as np
import pytest

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.curves import ClassCurves, draw_curves


def line_heights(axes):
    """The y values of each line that stands in the legend."""
    return [np.asarray(line.get_ydata()) for line in axes.get_lines() if line.get_label()[0] == " "]


def figure_texts(figure):
    return [text.get_text().strip() for axes in figure.axes[:3] for text in axes.legend_.texts]


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


def test_curves_of_another_dataset_are_refused(make_data):
    data, other = make_data(3), make_data(4)
    with pytest.raises(PlotError, match=r"curves\['softmax'\]: 3 classes expected.*got 4"):
        draw_curves(data.axis, other.curves)


def test_a_perfect_correlation_may_be_rounded_up(make_data):
    curves = replace(make_data(3).curves["marr"], logit_correlation=np.nextafter(1.0, 2.0))
    assert curves.logit_correlation > 1
