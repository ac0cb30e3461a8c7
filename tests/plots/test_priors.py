from dataclasses import replace

import numpy as np
import pytest

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.priors import PriorValues, draw_priors

EXPONENTS = np.linspace(1, -1, 21)


def make_methods(names):
    found = {}
    for i, name in enumerate(names):
        accuracy = 0.6 + (0.3 - 0.1 * i) * EXPONENTS / 2
        lead = np.select([EXPONENTS * (i - 0.5) < -0.2, EXPONENTS * (i - 0.5) < 0.01], [2, 1])
        found[name] = PriorValues(
            accuracy=accuracy,
            accuracy_low=accuracy - 0.02,
            accuracy_high=accuracy + 0.02,
            accuracy_lead=lead if i < 2 else np.zeros(len(EXPONENTS)),
            nll=2 - accuracy,
            nll_low=1.9 - accuracy,
            nll_high=2.1 - accuracy,
            nll_lead=np.full(len(EXPONENTS), 2 * (i == 0)),
        )
    return found


def test_lines_and_strips_show_the_numbers_of_the_table():
    methods = make_methods(("softmax", "marr"))
    figure, table = draw_priors(EXPONENTS, 100.0, methods)
    np.testing.assert_allclose(table["ratio"][[0, 10, 20]], [100, 1, 0.01])
    for axes, field, unit in zip(figure.axes[:2], ("accuracy", "nll"), (100, 1), strict=True):
        lines = [line for line in axes.get_lines() if len(line.get_xdata()) == len(EXPONENTS)]
        for line, name in zip(lines, methods, strict=True):
            np.testing.assert_allclose(line.get_ydata(), unit * table[f"{name}.{field}"])
        assert axes.get_xlim() == (1, -1)
    strip = figure.axes[2]
    for patch in strip.patches:
        middle = patch.get_x() + patch.get_width() / 2
        at = np.abs(EXPONENTS - middle).argmin()
        leads = [table[f"{name}.accuracy_lead"][at] for name in methods]
        color = ("#0072B2", "#D55E00")[int(np.argmax(leads))]
        assert patch.get_facecolor()[:3] == pytest.approx(rgb(color))
        assert patch.get_alpha() == (1.0 if max(leads) == 2 else 0.3)
    assert sum(patch.get_width() for patch in strip.patches) == pytest.approx(-2)
    assert len(figure.axes[3].patches) == 1


def rgb(color):
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]


@pytest.mark.parametrize("width", ["page", "column"])
@pytest.mark.parametrize("ratio", [1.0, 7.07, 4980.0, 123456.0])
@pytest.mark.parametrize("names", [("softmax",), ("a_" * 40, "$x$"), tuple("abcdefgh")])
def test_priors_are_readable(names, ratio, width, see):
    seen = see(draw_priors(EXPONENTS, ratio, make_methods(names), width=width)[0])
    assert seen.faults() == []


def test_what_cannot_be_is_refused():
    with pytest.raises(PlotError, match="1 to 8 methods expected, got 0"):
        draw_priors(EXPONENTS, 10.0, {})
    methods = make_methods(("a", "b"))
    with pytest.raises(PlotError, match="20 priors expected, as there are exponents, got 21"):
        draw_priors(EXPONENTS[1:], 10.0, methods)
    with pytest.raises(PlotError, match=r"accuracy: values in 0\.\.1"):
        replace(methods["a"], accuracy=np.full(21, 60.0))
