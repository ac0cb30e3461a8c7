from dataclasses import replace

import numpy as np
import pytest

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.reliability import ReliabilityBins, draw_reliability
from marr_pipeline.plots.save import save_drawing

PARTS = ("overall", "many", "medium", "few")
LONG = ("softmax", "balanced-softmax-head (official)", "a_" * 40, "$x$", "_f", "b", "c", "d")


def make_bins(rng, num_samples=2000):
    samples = rng.multinomial(num_samples, np.linspace(0.01, 1, 15) ** 2 / 5.4)
    samples[:2] = 0, 3
    is_filled = samples > 0
    confidence = np.where(is_filled, (np.arange(15) + rng.uniform(size=15)) / 15, np.nan)
    return ReliabilityBins(
        samples=samples,
        confidence=confidence,
        accuracy=np.where(is_filled, rng.uniform(size=15), np.nan),
    )


def make(rng, names, parts=PARTS):
    return {name: {part: make_bins(rng) for part in parts} for name in names}


def test_the_calibration_error_weighs_gaps_by_samples():
    bins = ReliabilityBins(
        samples=np.array([0, 30, 10]),
        confidence=np.array([np.nan, 0.5, 0.9]),
        accuracy=np.array([np.nan, 0.6, 0.5]),
    )
    assert bins.error == pytest.approx(0.75 * 0.1 + 0.25 * 0.4)


@pytest.mark.parametrize("width", ["page", "column"])
def test_lines_stand_at_the_numbers_of_the_table_and_leave_thin_bins_out(width, rng):
    bins = make(rng, ("softmax", "marr"))
    figure, table = draw_reliability(bins, width=width)
    table = {name: np.asarray(column) for name, column in table.items()}
    across = {"page": 4, "column": 2}[width]
    for i, part in enumerate(PARTS):
        first = 3 * across * (i // across) + i % across
        diagram, gap, share = (figure.axes[first + row * across] for row in range(3))
        texts = [text.get_text().strip() for text in diagram.legend_.texts]
        for j, name in enumerate(bins):
            own = (table["series"] == name) & (table["part"] == part)
            full = own & (table["samples"] >= 10)
            assert 0 < full.sum() < 14
            for axes, quantity in ((diagram, "accuracy"), (gap, "gap")):
                line = [one for one in axes.get_lines() if one.get_linestyle() != "None"][1 + j]
                np.testing.assert_allclose(line.get_xdata(), 100 * table["confidence"][full])
                np.testing.assert_allclose(line.get_ydata(), 100 * table[quantity][full])
            steps = share.patches[j].get_data()
            np.testing.assert_allclose(steps.values, 100 * table["share"][own])
            np.testing.assert_allclose(steps.edges[:-1], 100 * table["low"][own])
            error = np.nansum(table["share"][own] * np.abs(table["gap"][own]))
            assert texts[j] == f"{100 * error:.1f}"
            np.testing.assert_allclose(table["ece"][own], error)
        assert diagram.legend_.get_title().get_text() == f"{part}: ECE (%)"


@pytest.mark.parametrize("width", ["page", "column"])
@pytest.mark.parametrize(("num_parts", "num_series"), [(1, 8), (3, 2), (4, 1), (4, 8)])
def test_it_is_readable(num_parts, num_series, width, rng, see):
    bins = make(rng, LONG[:num_series], PARTS[:num_parts])
    figure, _ = draw_reliability(bins, width=width)
    narrow = width == "column" or num_parts == 1
    assert figure.get_figwidth() == (3.5 if narrow else 7.16)
    seen = see(figure)
    assert seen.faults() == []
    for axes, box in seen.legends:
        assert box.y0 >= axes.bbox.y1 - 1


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_two_runs_write_the_same_bytes(suffix, tmp_path):
    written = []
    for name in ("a", "b"):
        bins = make(np.random.default_rng(1), LONG)
        files = save_drawing(draw_reliability(bins), tmp_path / f"{name}{suffix}", title="$1")
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]


def test_what_cannot_be_is_refused(rng):
    bins = make_bins(rng)
    with pytest.raises(PlotError, match=r"accuracy: fractions in 0\.\.1 expected .* to 64"):
        replace(bins, accuracy=np.where(bins.samples > 0, 64.0, np.nan))
    with pytest.raises(PlotError, match=r"\(B,\) numbers .* got \[\(15,\), \(14,\), \(15,\)\]"):
        replace(bins, confidence=bins.confidence[1:])
    for names in ((), tuple("abcdefghi")):
        with pytest.raises(PlotError, match=f"1 to 8 series expected, got {len(names)}"):
            draw_reliability(make(rng, names))
    with pytest.raises(PlotError, match="the same parts"):
        draw_reliability({"a": {"few": bins}, "b": {"many": bins}})
