import numpy as np
import pytest

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.contact_sheet import draw_contact_sheet


def make_images(num_rows, num_columns, *, height=8, width=8, channels=3):
    shape = (num_rows, num_columns, height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 32)])
def test_every_image_is_on_the_sheet_at_its_place(height, width, channels):
    images = make_images(2, 3, height=height, width=width, channels=channels)
    figure, _ = draw_contact_sheet(images, rows=["cat", "dog"], columns=["clean", "1", "2"])
    (axes,) = figure.axes
    sheet = np.asarray(axes.images[0].get_array())
    tops = [round(y - (height - 1) / 2) for y in axes.get_yticks()]
    lefts = [round(x - (width - 1) / 2) for x in axes.get_xticks()]
    is_paper = np.ones(sheet.shape[:2], bool)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            place = np.s_[top : top + height, left : left + width]
            expected = np.broadcast_to(images[row, column], (height, width, 3))
            np.testing.assert_array_equal(sheet[place], expected)
            is_paper[place] = False
    assert is_paper.any()
    assert (sheet[is_paper] == 255).all()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]


@pytest.mark.parametrize(("num_rows", "num_columns"), [(1, 1), (2, 20), (40, 2)])
def test_names_neither_overlap_nor_leave_the_paper(num_rows, num_columns, see):
    rows = [f"a class with a long name {row}" for row in range(num_rows)]
    columns = ["clean", *map(str, range(1, num_columns))]
    figure, _ = draw_contact_sheet(make_images(num_rows, num_columns), rows=rows, columns=columns)
    assert see(figure).faults() == []


def test_the_table_has_a_line_for_every_image():
    images = np.zeros((2, 2, 1, 2, 1), np.uint8)
    images[1, 0, 0, :, 0] = [10, 20]
    names = {"rows": ["cat", "dog"], "columns": ["clean", "view 1"]}
    _, table = draw_contact_sheet(images, **names)
    assert table["row"] == ["cat", "cat", "dog", "dog"]
    assert table["column"] == ["clean", "view 1"] * 2
    np.testing.assert_array_equal(table["mean"], [0, 0, 15, 0])
    np.testing.assert_array_equal(table["deviation"], [0, 0, 5, 0])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (make_images(2, 2, channels=4), "1 or 3\\) uint8 expected, got \\(2, 2, 8, 8, 4\\)"),
        (make_images(2, 2).astype(np.float32), "uint8 expected, got .* float32"),
        (make_images(0, 2), "expected, got \\(0, 2"),
        (make_images(3, 2), "3 names of rows and 2 of columns expected, got 2 and 2"),
    ],
)
def test_other_arrays_are_refused(images, message):
    with pytest.raises(PlotError, match=message):
        draw_contact_sheet(images, rows=["a", "b"], columns=["c", "d"])
