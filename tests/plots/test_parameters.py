from dataclasses import replace

import numpy as np
import pytest

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.parameters import (
    LogitParameters,
    MarginParameters,
    draw_parameters,
)
from marr_pipeline.plots.save import save_drawing

LONG = ("marr (default)", "balanced-softmax-head (official)", "a_" * 40, "$x$", "_f", *"bcd")


def make(num_classes, kind=MarginParameters):
    rng = np.random.default_rng(num_classes)
    return kind(**{name: rng.normal(size=num_classes) for name in kind.LABELS})


def draw(data, names=("marr",), kind=MarginParameters, **options):
    series = {name: make(data.axis.num_classes, kind) for name in names}
    reference = make(data.axis.num_classes, kind)
    return draw_parameters(data.axis, series, reference=reference, **options)


@pytest.mark.parametrize(
    ("kind", "labels"),
    [(MarginParameters, ["ω", "β"]), (LogitParameters, ["scale", "shift (logits)"])],
)
def test_marks_stand_at_counts_and_numbers_and_lines_at_what_changes_nothing(
    kind, labels, make_data
):
    data = make_data(10)
    figure, table = draw(data, kind=kind)
    assert [axes.get_ylabel() for axes in figure.axes] == labels
    counts = np.asarray(table["class_count"])
    for axes, quantity, identity in zip(figure.axes, kind.LABELS, (1, 0), strict=True):
        _edges, level, reference, marks = axes.get_lines()[-4:]
        assert set(level.get_ydata()) == {identity}
        for line, name in ((reference, "logit adjustment"), (marks, "marr")):
            np.testing.assert_allclose(10 ** -line.get_xdata(), counts)
            np.testing.assert_array_equal(line.get_ydata(), table[f"{name}.{quantity}"])
        places = dict(zip(axes.get_xticks(), axes.get_xticklabels(), strict=True))
        for place, label in places.items():
            assert float(label.get_text().replace(",", "")) == pytest.approx(10**-place)


def test_many_classes_are_averaged_over_bins_of_counts(make_data):
    data = make_data(1000)
    figure, table = draw(data)
    counts, omega = np.asarray(table["class_count"]), np.asarray(table["marr.omega"])
    line = figure.axes[0].get_lines()[-1]
    bins = np.floor(6 * (np.log10(counts.max()) - np.log10(counts)) + 1e-12)
    expected = [omega[bins == one].mean() for one in np.unique(bins)]
    np.testing.assert_allclose(line.get_ydata(), expected)
    dots = figure.axes[0].collections[-1].get_offsets()
    np.testing.assert_allclose(dots, np.stack([-np.log10(counts), omega], axis=1))


@pytest.mark.parametrize("width", ["page", "column"])
@pytest.mark.parametrize(
    ("num_classes", "num_series"), [(1, 1), (2, 8), (10, 8), (100, 3), (1000, 8)]
)
def test_it_is_readable(num_classes, num_series, width, make_data, see):
    figure, _ = draw(make_data(num_classes), LONG[:num_series], LogitParameters, width=width)
    assert figure.get_figwidth() == {"page": 7.16, "column": 3.5}[width]
    assert see(figure).faults() == []


@pytest.mark.parametrize(
    "counts", [[5, 5, 5], [0, 300, 0], [120_000, 15, 1], [99, 101, 100], [17, 18, 19]]
)
def test_odd_counts_have_their_ticks_and_those_without_images_no_place(counts, make_data, see):
    data, class_counts = make_data(3), np.array(counts)
    groups = {"many": class_counts > 100, "medium": class_counts == 100, "few": class_counts < 100}
    axis = replace(data.axis, class_counts=class_counts, groups=groups)
    figure, table = draw(replace(data, axis=axis))
    assert see(figure).faults() == []
    assert len(figure.axes[0].get_xticks()) >= min(2, len(set(class_counts[class_counts > 0])))
    assert len(figure.axes[0].get_lines()[-1].get_xdata()) == (class_counts > 0).sum()
    assert len(table["marr.omega"]) == 3


def test_two_runs_write_the_same_bytes(make_data, tmp_path):
    files = [save_drawing(draw(make_data(100)), tmp_path / f"{name}.svg") for name in "ab"]
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_what_does_not_fit_is_refused(make_data):
    data = make_data(3)
    with pytest.raises(PlotError, match=r"one kind of numbers .* LogitParameters and Margin"):
        draw_parameters(data.axis, {"a": make(3)}, reference=make(3, LogitParameters))
    with pytest.raises(PlotError, match=r"parameters\['a'\]: 3 classes expected"):
        draw_parameters(data.axis, {"a": make(4)}, reference=make(3))
    with pytest.raises(PlotError, match="1 to 8 series expected, got 0"):
        draw(data, ())
    axis = replace(data.axis, class_counts=np.zeros(3, np.int64))
    with pytest.raises(PlotError, match=r"classes with training images expected, got .* of 0"):
        draw(replace(data, axis=axis))
