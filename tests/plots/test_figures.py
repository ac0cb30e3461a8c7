"""What every figure of classes holds to: readable at every size, gaps for what is not known."""

from dataclasses import replace

import numpy as np
import pytest

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.classwise import ClassScores, draw_classwise
from marr_pipeline.plots.confusion import draw_confusion
from marr_pipeline.plots.curves import draw_curves
from marr_pipeline.plots.smoothing import running_mean

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SHARKS = [f"great white shark number {i}" for i in range(20)]
LONG = ("softmax", "logit-adjustment", "balanced-softmax-head (official)", "a_" * 40, "$x$", "_f")
TWO = ("softmax", "marr")


def assert_readable(seen):
    assert seen.faults() == []


@pytest.mark.parametrize("num_classes", [1, 10, 100])
@pytest.mark.parametrize(("draw", "part"), [(draw_curves, "curves"), (draw_classwise, "scores")])
def test_the_table_holds_what_was_given_from_head_to_tail(draw, part, num_classes, make_data):
    data = make_data(num_classes)
    _, table = draw(data.axis, getattr(data, part))
    ids = data.axis.order
    np.testing.assert_array_equal(table["class_id"], ids)
    np.testing.assert_array_equal(table["class_count"], data.axis.class_counts[ids])
    np.testing.assert_array_equal(table["rank"], np.arange(num_classes) + 1)
    assert all(data.axis.groups[g][i] for g, i in zip(table["group"], ids, strict=True))
    for name, given in getattr(data, part).items():
        for quantity, value in vars(given).items():
            shown, smooth = (table.get(f"{name}.{kind}{quantity}") for kind in ("", "smooth_"))
            if isinstance(value, float):
                assert set(shown) == {value}
                continue
            np.testing.assert_array_equal(shown, value[ids])
            assert (smooth is not None) == (num_classes > 50)
            if smooth is not None:
                np.testing.assert_array_equal(smooth, running_mean(value[ids]))


@pytest.mark.parametrize(
    ("num_classes", "names", "series"),
    [
        (1, None, ("softmax",)),
        (2, None, TWO),
        (10, CIFAR, TWO),
        (16, SHARKS[:16], ("_x", "logit-adjustment", "a" * 50, "cost $1 and $2")),
        (30, None, tuple("abcdefgh")),
        (1000, None, ("softmax", "logit-adjustment", "marr")),
    ],
)
def test_curves_are_readable(num_classes, names, series, make_data, see):
    data = make_data(num_classes, series=series, names=names)
    seen = see(draw_curves(data.axis, data.curves)[0])
    assert_readable(seen)
    assert len(seen.legends) == 3
    for axes, box in seen.legends:
        assert box.y0 >= axes.bbox.y1
        assert len(axes.legend_.texts) == len(series)


@pytest.mark.parametrize(
    ("num_classes", "names", "num_matrices"),
    [
        (1, None, 1),
        (2, ["$yes$", "_no"], 2),
        (10, CIFAR, 1),
        (10, CIFAR, 3),
        (20, SHARKS, 2),
        (16, None, 4),
        (100, None, 2),
        (1000, None, 2),
    ],
)
def test_matrices_are_readable_and_of_one_size(num_classes, names, num_matrices, make_data, see):
    data = make_data(num_classes, series=tuple("abcd"[:num_matrices]), names=names)
    figure, _ = draw_confusion(data.axis, data.counts)
    assert_readable(see(figure))
    sides = {round(axes.bbox.width) for axes in figure.axes[:num_matrices]}
    assert max(sides) - min(sides) <= 1


@pytest.mark.parametrize("width", ["page", "column"])
@pytest.mark.parametrize(
    ("num_classes", "names", "series"),
    [
        (1, None, ("softmax",)),
        (10, CIFAR, LONG),
        (40, None, tuple("abcdefgh")),
        (100, None, LONG[:4]),
        (1000, None, TWO),
    ],
)
def test_scores_are_readable(num_classes, names, series, width, make_data, see):
    data = make_data(num_classes, series=series, names=names)
    figure, _ = draw_classwise(data.axis, data.scores, width=width)
    assert figure.get_figwidth() == {"page": 7.16, "column": 3.5}[width]
    assert_readable(see(figure))
    assert len(figure.legends[0].texts) == len(series)


NAMED = {"page": (40, 53), "column": (20, 21)}


@pytest.mark.parametrize("width", ["page", "column"])
@pytest.mark.parametrize("num_classes", [40, 210])
def test_as_many_names_as_can_be_read(num_classes, width, make_data, see):
    data = make_data(num_classes, names=[f"shark {i}, great white" for i in range(num_classes)])
    axis = replace(data.axis, is_named=True)
    figure, _ = draw_classwise(axis, data.scores, width=width)
    assert_readable(see(figure))
    named = [text.get_text() for text in figure.axes[-1].get_xticklabels()]
    assert len(named) == NAMED[width][num_classes > 40]
    is_all = len(named) == num_classes
    note = "" if is_all else f", {len(named)} of {num_classes} named"
    label = figure.axes[-1].get_xlabel()
    assert label.startswith(f"class, head to tail{note}") or (is_all and not label)
    if width == "page":
        assert_readable(see(draw_curves(axis, data.curves)[0]))
        assert_readable(see(draw_confusion(axis, data.counts)[0]))


@pytest.mark.parametrize("counts", [[0, 0, 0], [300, 0, 150], [1, 1, 1]])
def test_absent_classes_and_empty_groups_leave_gaps(counts, make_data, see):
    data, unknown = make_data(3), np.full(3, np.nan)
    class_counts = np.array(counts)
    groups = {"many": class_counts > 0, "medium": class_counts > 999, "few": class_counts < 1}
    axis = replace(data.axis, class_counts=class_counts, groups=groups)
    absent = replace(data.curves["marr"], mean_logit=unknown, accuracy=unknown)
    figure, _ = draw_curves(axis, {"marr": absent})
    assert see(figure).overlaps() == []
    labels = {text.get_text() for text in figure.axes[0].texts}
    assert labels == {name for name, members in groups.items() if members.any()}
    gaps = np.array([0.5, np.nan, np.nan])
    absent = ClassScores(accuracy=gaps, f1=gaps, overall=np.nan, macro_f1=np.nan)
    figure, table = draw_classwise(axis, {"softmax": absent})
    assert see(figure).overlaps() == []
    assert np.isnan(np.asarray(table["softmax.f1"])).sum() == 2


@pytest.mark.parametrize(
    ("draw", "part", "most"),
    [
        (draw_curves, "curves", "8 series"),
        (draw_confusion, "counts", "4 matrices"),
        (draw_classwise, "scores", "8 series"),
    ],
)
def test_too_few_or_too_many_series_are_refused(draw, part, most, make_data):
    for count in (0, int(most[0]) + 1):
        data = make_data(3, series=tuple("abcdefghi"[:count]))
        with pytest.raises(PlotError, match=f"{part}: 1 to {most} expected, got {count}"):
            draw(data.axis, getattr(data, part))


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        (
            "curves",
            {"accuracy": np.ones(2)},
            r"one shape \(K,\) .*'accuracy': \(2,\)",
        ),
        ("curves", {"accuracy": np.array([0.5, 64.6, 1])}, r"accuracy: .* 0\.\.1 or NaN .* 64\.6"),
        ("curves", {"mean_logit": np.array([1.0, np.inf, 0])}, "mean_logit: values in .* got inf"),
        ("curves", {"logit_correlation": 1.5}, r"logit_correlation: values in -1\.\.1 .* got 1\.5"),
        ("scores", {"f1": np.ones(2)}, r"ClassScores: values of one shape .*'f1': \(2,\)}; pass"),
        ("scores", {"accuracy": np.array([0.5, 64.6, 1])}, r"accuracy: values .* got 64\.6"),
        ("scores", {"macro_f1": -0.5}, r"macro_f1: values in 0\.\.1 or NaN expected, got -0\.5"),
    ],
)
def test_impossible_numbers_are_refused(part, changes, message, make_data):
    with pytest.raises(PlotError, match=message):
        replace(getattr(make_data(3), part)["marr"], **changes)
