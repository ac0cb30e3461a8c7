import numpy as np
import pytest
from matplotlib.patches import Rectangle

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.confusion import draw_confusion, in_blocks, row_shares
from marr_pipeline.plots.save import save_drawing


def axis_of(class_counts, groups, names=None):
    return ClassAxis(class_counts=np.array(class_counts), groups=groups, class_names=names)


@pytest.mark.parametrize("num_classes", [1, 2, 10, 100, 120])
def test_table_gives_the_matrices_back(num_classes, make_data):
    data = make_data(num_classes)
    _, table = draw_confusion(data.axis, data.counts)
    series = np.asarray(table["series"])
    for name, matrix in data.counts.items():
        rebuilt = np.zeros_like(matrix)
        of_series = {column: np.asarray(values)[series == name] for column, values in table.items()}
        rebuilt[of_series["true_class"], of_series["predicted_class"]] = of_series["count"]
        np.testing.assert_array_equal(rebuilt, matrix)
        np.testing.assert_allclose(of_series["fraction"], of_series["count"] / 50)
    is_dense = num_classes <= 100
    assert len(series) == (
        2 * num_classes**2 if is_dense else sum(map(np.count_nonzero, data.counts.values()))
    )
    first_of_class = list(dict.fromkeys(np.asarray(table["true_class"]).tolist()))
    assert (np.diff(data.axis.class_counts[first_of_class]) <= 0).all()


def test_table_names_classes_and_leaves_unseen_rows_without_a_fraction():
    counts = {"softmax": np.array([[0, 0], [1, 3]])}
    groups = {"many": np.array([False, True]), "few": np.array([True, False])}
    _, table = draw_confusion(axis_of([5, 500], groups, ["cat", "dog"]), counts)
    assert table["true_name"] == ["dog", "dog", "cat", "cat"]
    assert table["predicted_name"] == ["dog", "cat", "dog", "cat"]
    assert table["true_group"] == ["many", "many", "few", "few"]
    np.testing.assert_array_equal(table["count"], [3, 1, 0, 0])
    np.testing.assert_array_equal(table["fraction"], [0.75, 0.25, np.nan, np.nan])


def test_cells_captions_and_hatching_say_what_the_matrix_says():
    counts = {"softmax": np.array([[0, 0, 0], [1, 3, 0], [0, 0, 2]])}
    class_counts = np.array([5, 500, 50])
    groups = {"many": class_counts > 100, "none": class_counts > 999, "few": class_counts <= 100}
    figure, _ = draw_confusion(axis_of(class_counts, groups), counts)
    axes = figure.axes[0]
    cells = {t.get_position(): t.get_text() for t in axes.texts if t.get_text().isdigit()}
    # Head to tail is 1, 2, 0; x is the predicted rank, y the true one.
    assert cells == {
        (0, 0): "75",
        (1, 0): "0",
        (2, 0): "25",
        (0, 1): "0",
        (1, 1): "100",
        (2, 1): "0",
    }
    assert axes.get_xlabel() == "predicted class\nmany 75.0  few 100.0  overall 83.3"
    hatched = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_hatch()]
    assert [(p.get_y(), p.get_height()) for p in hatched] == [(1.5, 1)]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2", "0"]
    np.testing.assert_array_equal(axes.images[0].get_array().mask, [[False] * 3] * 2 + [[True] * 3])


def test_large_matrices_are_ordered_and_ruled_without_numbers(make_data):
    data = make_data(40, series=("marr",))
    figure, _ = draw_confusion(data.axis, data.counts)
    axes = figure.axes[0]
    order = np.argsort(-data.axis.class_counts, kind="stable")
    shown = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shown, 2.0 * data.counts["marr"][np.ix_(order, order)])
    assert len(axes.texts) == 0
    assert [t.get_text() for t in axes.get_yticklabels()] == ["many", "medium", "few"]
    assert len(axes.get_lines()) == 4


def test_a_perfect_narrow_matrix_writes_100_and_no_zeros(see):
    counts = {name: np.diag(np.full(20, 7)) for name in ("softmax", "marr")}
    groups = {"few": np.ones(20, np.bool_)}
    figure, _ = draw_confusion(axis_of(np.arange(20, 0, -1), groups), counts)
    assert [t.get_text() for t in figure.axes[0].texts if t.get_text() != "few"] == ["100"] * 20
    assert see(figure).cut_off() == []


def test_a_thousand_classes_save_only_the_cells_with_images(make_data, tmp_path):
    data = make_data(1000)
    drawing = draw_confusion(data.axis, data.counts)
    picture, numbers = save_drawing(drawing, tmp_path / "confusion.png")
    assert picture.stat().st_size > 10_000
    num_cells = sum(np.count_nonzero(matrix) for matrix in data.counts.values())
    assert len(numbers.read_text().splitlines()) == 1 + num_cells


def test_beyond_200_classes_a_cell_is_the_share_of_a_block(make_data):
    data = make_data(203, series=("marr",))
    figure, table = draw_confusion(data.axis, data.counts)
    ordered = data.counts["marr"][np.ix_(data.axis.order, data.axis.order)]
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown[3:6, 9:12], 100 * ordered[3:6, 9:12].sum() / 150)
    np.testing.assert_allclose(shown[201:, 201:], 100 * ordered[201:, 201:].sum() / 100)
    assert figure.axes[0].get_ylabel() == "true class, blocks of 3"
    assert len(set(table["true_class"])) == 203


def test_blocks_lose_no_image():
    matrix = np.arange(49).reshape(7, 7)
    blocks = in_blocks(matrix, 3)
    assert blocks.shape == (3, 3)
    assert blocks[2, 0] == matrix[6, :3].sum()
    assert blocks.sum() == matrix.sum()


@pytest.mark.parametrize(
    ("matrix", "got"),
    [
        (np.zeros((2, 3), np.int64), r"got \(2, 3\) of int64"),
        (np.zeros((3, 3)), r"got \(3, 3\) of float64"),
        (np.full((3, 3), -1), r"got \(3, 3\) of int64"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(matrix, got, make_data):
    data = make_data(3)
    with pytest.raises(PlotError, match=rf"counts\['marr'\]: \(3, 3\) integers .* {got}"):
        draw_confusion(data.axis, {"marr": matrix})


MATRIX = np.array([[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [2, 0, 0, 0]])


def test_shares_of_a_row_sum_to_one_and_an_empty_row_has_none():
    shares = row_shares(MATRIX)
    np.testing.assert_array_equal(shares[0], [0.75, 0.25, 0, 0])
    np.testing.assert_array_equal(shares.sum(axis=1), [1, 1, np.nan, 1])


def test_groups_average_their_classes_and_overall_counts_images():
    groups = {
        "many": np.array([True, True, False, False]),
        "nobody": np.zeros(4, np.bool_),
        "unseen": np.array([False, False, True, False]),
        "few": np.array([False, False, False, True]),
    }
    figure, _ = draw_confusion(axis_of([9, 8, 7, 6], groups), {"marr": MATRIX})
    caption = figure.axes[0].get_xlabel().split("\n", 1)[1]
    assert caption.split() == ["many", "62.5", "unseen", "–", "few", "0.0", "overall", "50.0"]
