from itertools import product

import numpy as np
import pytest

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.forest import Difference, draw_forest
from marr_pipeline.plots.save import save_drawing

LONG = ("logit-adjustment", "balanced-softmax-head (official)", "a_" * 40, "$x$", "_f", *"bcdefg")
METRICS = ("overall accuracy", "balanced accuracy", "few-shot accuracy")
REFERENCES = ("softmax", "logit-adjustment")
WORDS = {"marked": "p < 0.05 (McNemar, Holm)", "interval": "95 % interval"}


def make(methods, metrics=METRICS):
    rng = np.random.default_rng(len(methods))

    def difference():
        value, half = rng.normal(scale=0.1), rng.uniform(0, 0.05)
        marked = abs(value) > half
        return Difference(value=value, low=value - half, high=value + half, p=0.2, is_marked=marked)

    return {
        metric: {
            method: {name: difference() for name in REFERENCES if name != method}
            for method in methods
        }
        for metric in metrics
    }


@pytest.mark.parametrize("width", ["page", "column"])
def test_marks_intervals_and_numbers_are_those_of_the_table(width):
    panels = make(LONG[:4])
    figure, table = draw_forest(panels, **WORDS, width=width)
    rows = iter(zip(*table.values(), strict=True))
    for axes, metric in zip(figure.axes, METRICS, strict=True):
        lines = iter(axes.get_lines()[1:])
        texts = iter(axes.texts)
        assert axes.get_title(loc="left") == metric
        assert set(axes.get_lines()[0].get_xdata()) == {0}
        heights = []
        for method, reference in product(LONG[:4], REFERENCES):
            if method == reference:
                continue
            *names, value, low, high, p, marked = next(rows)
            assert names == [metric, method, reference]
            given = panels[metric][method][reference]
            assert (value, low, high, p) == (given.value, given.low, given.high, given.p)
            interval, mark = next(lines), next(lines)
            np.testing.assert_allclose(interval.get_xdata(), [100 * low, 100 * high])
            np.testing.assert_allclose(mark.get_xdata(), [100 * value])
            assert (mark.get_markerfacecolor() != "white") == marked == given.is_marked
            text = next(texts).get_text().replace("−", "-")
            assert text.endswith("*") == marked
            assert float(text.rstrip("*").replace("−", "-")) == pytest.approx(
                100 * value, abs=0.051
            )
            heights.append(mark.get_ydata()[0])
        assert heights == sorted(heights)
    assert next(rows, None) is None


@pytest.mark.parametrize("width", ["page", "column"])
@pytest.mark.parametrize("num_metrics", [1, 2, 3])
@pytest.mark.parametrize("num_methods", [1, 2, 8])
def test_it_is_readable(num_methods, num_metrics, width, see):
    panels = make(LONG[:num_methods], METRICS[:num_metrics])
    figure, _ = draw_forest(panels, **WORDS, width=width)
    assert figure.get_figwidth() == {"page": 7.16, "column": 3.5}[width]
    assert see(figure).faults() == []


def test_a_difference_of_nothing_has_no_sign():
    nothing = Difference(value=-1e-5, low=0.0, high=0.0, p=1.0, is_marked=False)
    figure, _ = draw_forest({"overall": {"marr": {"softmax": nothing}}}, **WORDS)
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.0"]


def test_two_runs_write_the_same_bytes(tmp_path):
    files = [
        save_drawing(draw_forest(make(LONG[:8]), **WORDS), tmp_path / f"{name}.pdf")
        for name in "ab"
    ]
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "panels",
    [
        {},
        make(()),
        make([str(i) for i in range(25)]),
        {**make("a", METRICS[:1]), **make("b", METRICS[1:])},
    ],
)
def test_other_methods_in_a_panel_none_or_too_many_are_refused(panels):
    with pytest.raises(PlotError, match="panels: the same 1 to 24 methods in each expected"):
        draw_forest(panels, **WORDS)
