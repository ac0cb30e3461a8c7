from dataclasses import replace

import numpy as np
import pytest

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.gamma import GammaCurve, draw_gamma

GAMMA = np.arange(0, 1.7, 0.2).round(1)
REFERENCES = {"softmax": (0.6, 0.5, 1.5), "logit-adjustment": (0.72, 0.7, 0.9)}


def make_curve(level=0.7, *, chosen=1.2):
    overall = level - 0.05 * (GAMMA - 1.2) ** 2
    accuracies = {"overall": overall, "many": overall + 0.1, "few": overall - 0.2}
    return GammaCurve(
        gamma=GAMMA,
        **accuracies,
        medium=np.full(len(GAMMA), np.nan),
        overall_low=overall - 0.01,
        overall_high=overall + 0.01,
        balanced=overall - 0.1,
        nll=2 - overall,
        nll_low=1.9 - overall,
        nll_high=2.1 - overall,
        is_solved=np.array([0.0] + [1.0] * (len(GAMMA) - 1)),
        chosen=chosen,
    )


def lines_of(axes, marker):
    return [line for line in axes.get_lines() if line.get_marker() == marker]


def test_lines_bands_and_the_ring_stand_at_the_numbers_of_the_table():
    figure, table = draw_gamma({"marr": make_curve()}, REFERENCES)
    left, right = figure.axes
    is_swept = np.array(table["series"]) == "marr"
    line, hollow = lines_of(left, "s")
    np.testing.assert_allclose(line.get_ydata(), 100 * table["overall"][is_swept])
    np.testing.assert_allclose(hollow.get_xdata(), [0.0])
    (band,) = left.collections
    heights = band.get_paths()[0].vertices[:, 1]
    low, high = (100 * table[f"overall_{end}"][is_swept] for end in ("low", "high"))
    assert (heights.min(), heights.max()) == (pytest.approx(low.min()), pytest.approx(high.max()))
    (ring,) = lines_of(left, "o")
    assert (ring.get_xdata(), ring.get_ydata()) == (pytest.approx([1.2]), pytest.approx([70.0]))
    assert table["chosen"].tolist() == [int(gamma == 1.2) for gamma in GAMMA] + [0, 0]
    for group, marker in (("many", "^"), ("few", "v")):
        shown = lines_of(right, marker)[0].get_ydata()
        np.testing.assert_allclose(shown, 100 * table[group][is_swept])
    assert table["series"][-2:] == ["softmax", "logit-adjustment"]
    np.testing.assert_array_equal(table["nll"][-2:], [1.5, 0.9])
    np.testing.assert_array_equal(table["balanced"][-2:], [0.5, 0.7])
    entries = [text.get_text().strip() for text in figure.legends[0].texts]
    assert entries[:3] == ["marr, γ 1.2: 70.0", "softmax 60.0", "logit-adjustment 72.0"]
    assert entries[3:] == ["many", "few", "no minimum reached"]


@pytest.mark.parametrize("width", ["page", "column"])
@pytest.mark.parametrize("names", [("marr",), ("a_" * 40, "$x$", "_f"), tuple("abcdefg")])
def test_gamma_is_readable(names, width, see):
    curves = {name: make_curve(0.7 - 0.02 * i) for i, name in enumerate(names)}
    seen = see(draw_gamma(curves, REFERENCES, width=width)[0])
    assert seen.faults() == []
    if len(names) > 1:
        np.testing.assert_allclose(
            lines_of(seen.figure.axes[1], "s")[0].get_ydata(), curves[names[0]].nll
        )


def test_a_chosen_gamma_beside_the_grid_is_a_line_alone():
    figure, table = draw_gamma({"marr": make_curve(chosen=1.3)}, REFERENCES)
    (ring,) = lines_of(figure.axes[0], "o")
    assert not len(ring.get_xdata())
    assert not table["chosen"].any()
    assert figure.legends[0].texts[0].get_text() == " marr, γ 1.3"


def test_what_cannot_be_is_refused():
    for count in (0, 8):
        with pytest.raises(PlotError, match=f"1 to 7 curves expected, got {count}"):
            draw_gamma({str(i): make_curve() for i in range(count)}, REFERENCES)
    with pytest.raises(PlotError, match=r"shape \(K,\) .* pass one value per gamma"):
        replace(make_curve(), few=np.ones(2))
    with pytest.raises(PlotError, match="overall: values in"):
        replace(make_curve(), overall=np.full(len(GAMMA), 70.0))
