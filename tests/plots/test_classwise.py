import numpy as np
import pytest

from marr_pipeline.plots.classwise import draw_classwise


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


def test_series_differ_in_grey_and_the_one_before_is_hollow(make_data):
    data = make_data(100, series=tuple("abcdefgh"))
    figure, _ = draw_classwise(data.axis, data.scores)
    handles = figure.legends[0].legend_handles
    assert len({line.get_marker() for line in handles}) == 8
    assert len({str(line._dash_pattern) for line in handles}) == 8
    assert [line.get_markerfacecolor() == "white" for line in handles] == [True] + 7 * [False]
