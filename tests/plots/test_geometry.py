from dataclasses import replace

import numpy as np
import pytest

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.geometry import PlaneHead, draw_geometry, plane_basis

HEAD = PlaneHead(
    weight=np.array([[-3.0, 4.0], [1.0, 0.0]]), bias=np.array([5.0, -1.0]), margin_norm=[5.0, 1.0]
)
LABELS = np.repeat([0, 1], (30, 20))
POINTS = np.random.default_rng(0).normal(size=(50, 2)) + np.where(LABELS == 1, 2.0, -1.0)[:, None]


def draw(heads, *, names=("cat", "dog"), **options):
    own = {"classes": (3, 7), "axis_labels": ("x", "y"), **options}
    return draw_geometry(POINTS, LABELS, heads, names=names, **own)


def test_lines_are_where_logits_are_0_or_equal():
    (normal, offset), (other, at), (boundary, between) = HEAD.lines()
    np.testing.assert_allclose(normal, [-0.6, 0.8])
    assert (offset, at) == (-1.0, 1.0)
    np.testing.assert_allclose(other, [1, 0])
    for along in (-3.0, 0.0, 5.0):
        foot = boundary * between + along * np.array([-boundary[1], boundary[0]])
        assert np.ptp(HEAD.logits(foot[None])) == pytest.approx(0, abs=1e-12)


def test_logits_in_the_plane_are_those_of_all_features(rng):
    weight, features = rng.normal(size=(2, 9)), rng.normal(size=(40, 9))
    basis = plane_basis(weight, features)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(features @ basis @ (weight @ basis).T, features @ weight.T)
    upright = (weight[1] - weight[0]) @ basis
    assert upright[0] > 0
    assert upright[1] == pytest.approx(0, abs=1e-12)
    opposite = np.stack([weight[0], -2 * weight[0]])
    basis = plane_basis(opposite, features)
    np.testing.assert_allclose(features @ basis @ (opposite @ basis).T, features @ opposite.T)
    np.testing.assert_array_equal(plane_basis(weight[:, :2], features[:, :2]), np.eye(2))


def test_the_table_holds_samples_lines_margins_and_sides():
    after = replace(HEAD, weight=HEAD.weight * [[1], [2]], bias=np.array([4.5, -0.5]))
    figure, table = draw({"softmax": HEAD, "marr": after})
    kinds = np.array(table["kind"])
    np.testing.assert_array_equal(np.stack([table["x"], table["y"]], 1)[kinds == "sample"], POINTS)
    assert [table["class_id"][i] for i in (0, 49)] == ["3", "7"]
    assert list(kinds[50:]) == 2 * ["hyperplane", "hyperplane", "boundary"]
    for name, head, rows in (("softmax", HEAD, range(50, 52)), ("marr", after, range(53, 55))):
        logits = POINTS @ head.weight.T + head.bias
        for j, row in enumerate(rows):
            own = logits[np.equal(LABELS, j)]
            assert table["method"][row] == name
            assert table["mean_margin"][row] == pytest.approx(own[:, j].mean() / (5, 1)[j])
            assert table["own_side"][row] == np.mean(own.argmax(1) == j)
    for axes, head in zip(figure.axes, (HEAD, after), strict=True):
        assert axes.get_aspect() == 1
        lines = [line for line in axes.get_lines() if hasattr(line, "get_xy1")][-3:]
        for line, (normal, offset) in zip(lines, head.lines(), strict=True):
            for point in (line.get_xy1(), line.get_xy2()):
                assert normal @ np.array(point) == pytest.approx(offset)
        xlim, ylim = np.diff(axes.get_xlim()), np.diff(axes.get_ylim())
        assert xlim / ylim == pytest.approx(1.4)
    change = table["mean_margin"][53] - table["mean_margin"][50]
    caption = figure.axes[1].get_xlabel().splitlines()[1]
    assert caption.startswith(f"cat: mean margin {table['mean_margin'][53]:.2f}".replace("-", "−"))
    assert f"({change:+.2f})".replace("-", "−") in caption


@pytest.mark.parametrize("width", ["page", "column"])
@pytest.mark.parametrize("num_methods", [1, 2, 3, 4])
@pytest.mark.parametrize("names", [("0", "1"), ("great white shark of the north", "$x$ " * 20)])
def test_geometry_is_readable(names, num_methods, width, see):
    heads = {f"balanced-softmax-head {i}" * 3: HEAD for i in range(num_methods)}
    seen = see(draw(heads, names=names, width=width, axis_labels=("along " * 5, "up " * 6))[0])
    assert seen.faults() == []


def test_what_cannot_be_is_refused():
    for count in (0, 5):
        with pytest.raises(PlotError, match=f"1 to 4 methods expected, got {count}"):
            draw({str(i): HEAD for i in range(count)})
    with pytest.raises(PlotError, match=r"both classes expected, got \(3, 2\) of \[0\]"):
        draw_geometry(
            np.zeros((3, 2)),
            np.zeros(3, np.int64),
            {"a": HEAD},
            classes=(0, 1),
            names=("a", "b"),
            axis_labels=("x", "y"),
        )
