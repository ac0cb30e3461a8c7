import csv
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.image import imread

from marr_pipeline.errors import PipelineError
from marr_pipeline.plots import PlotError
from marr_pipeline.plots.save import Drawing, save_drawing
from marr_pipeline.plots.style import legend_figure, look, series_mark
from marr_pipeline.workflows.figures import save_figure

SIGNATURES = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


def small_figure() -> Figure:
    figure = Figure(figsize=(1.5, 1.0), dpi=200)
    figure.subplots().plot([0, 1], [0, 1])
    return figure


def read_rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_the_suffix_chooses_the_format_and_two_runs_write_the_same_bytes(suffix, tmp_path):
    first, numbers = save_drawing(Drawing(small_figure(), {"x": [1]}), tmp_path / f"first{suffix}")
    second, _ = save_drawing(Drawing(small_figure(), {"x": [1]}), tmp_path / f"second{suffix}")
    assert first.read_bytes().startswith(SIGNATURES[suffix])
    assert first.read_bytes() == second.read_bytes()
    assert numbers == tmp_path / "first.csv"
    assert len(list(tmp_path.iterdir())) == 4


def test_png_has_the_figures_inches_at_200_dpi(tmp_path):
    path, _ = save_drawing(Drawing(small_figure(), {"x": [1]}), tmp_path / "a.PNG")
    assert struct.unpack(">II", path.read_bytes()[16:24]) == (300, 200)


def named_figure() -> Drawing:
    with look():
        figure = legend_figure(1.5, 1.0, [("marr", series_mark(0))])
        figure.subplots().plot([0, 1], [0, 1])
    return Drawing(figure, {"x": [1]})


@pytest.mark.parametrize("title", ["Digits-LT, $100", "many words " * 12, "x" * 60])
def test_a_title_stands_over_the_figure_and_inside_the_paper(title, tmp_path):
    plain, headed = (
        imread(save_drawing(named_figure(), tmp_path / "a.png", title=given)[0])
        for given in (" ", title)
    )
    height = len(plain)
    top, below = np.split(headed, [len(headed) - height])
    np.testing.assert_array_equal(below, plain)
    is_paper = (top == 1).all(axis=2)
    assert 0.05 < 1 - is_paper.mean() < 0.5
    assert is_paper[[0, -1]].all()
    assert is_paper[:, [0, -1]].all()


def test_dots_per_inch_are_asked_for(tmp_path):
    path, _ = save_drawing(Drawing(small_figure(), {"x": [1]}), tmp_path / "a.png", dpi=600)
    assert struct.unpack(">II", path.read_bytes()[16:24]) == (900, 600)


def test_numbers_come_back_and_nan_is_an_empty_cell(tmp_path):
    table = {
        "id": np.array([2, 1], np.int64),
        "name": ["with, comma", 'and "quote" ü'],
        "value": np.array([0.1, np.nan]),
        "single": np.array([0.1, np.inf], np.float32),
    }
    _, path = save_drawing(Drawing(small_figure(), table), tmp_path / "a.png")
    header, first, second = read_rows(path)
    assert header == list(table)
    assert first[:3] == ["2", "with, comma", "0.1"]
    assert np.float32(first[3]) == np.float32(0.1)
    assert second == ["1", 'and "quote" ü', "", "inf"]


@given(values=st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_every_float_survives(values, tmp_path_factory):
    folder = tmp_path_factory.mktemp("floats")
    _, path = save_drawing(
        Drawing(Figure(figsize=(0.1, 0.1)), {"x": np.array(values)}), folder / "a.png"
    )
    assert [float(row[0]) for row in read_rows(path)[1:]] == values


@pytest.mark.parametrize("name", ["a.jpg", "a.csv", "a", "a.png.gz"])
def test_other_suffixes_are_refused(name, tmp_path):
    with pytest.raises(PlotError, match=r"a name ending in \.png, \.pdf, \.svg expected, got "):
        save_drawing(Drawing(small_figure(), {"x": [1]}), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("table", [{}, {"x": [1], "y": [1, 2]}, {"x": np.zeros((2, 2))}])
def test_what_is_no_table_is_refused(table, tmp_path):
    with pytest.raises(PlotError, match="at least one column, all 1-D and equally long"):
        save_drawing(Drawing(small_figure(), table), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_drawing(Drawing(small_figure(), {"x": [1]}), tmp_path / "missing" / "a.png")
    assert not list(tmp_path.iterdir())


class FullDisk(Figure):
    """Fails half-way, as on a disk without space."""

    def savefig(self, fname: Path, **_options: object) -> None:
        fname.write_bytes(b"half")
        raise OSError(28, os.strerror(28))


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_pair_is_replaced_as_a_whole_and_by_its_own_kind_alone(tmp_path, suffix):
    path, table = tmp_path / f"a{suffix}", tmp_path / "a.csv"
    drawing = Drawing(small_figure(), {"exponent": [1.0], "ratio": [2.0], "gain": [0.0]})
    save_figure(drawing, path, overwrite=False)
    before = path.read_bytes(), table.read_bytes()
    with pytest.raises(PipelineError, match="No space left"):
        save_figure(Drawing(FullDisk(), {"exponent": [3.0]}), path, overwrite=False)
    save_figure(drawing, path, overwrite=False)
    assert (path.read_bytes(), table.read_bytes()) == before
    small_figure().savefig(path)  # as an older version did, beside whose numbers it is known
    save_figure(drawing, path, overwrite=False)
    table.write_text("age,height\n")
    with pytest.raises(PipelineError, match=r"a\.csv: a free name or the numbers of a figure"):
        save_figure(drawing, path, overwrite=False)
    small_figure().savefig(path)
    with pytest.raises(PipelineError, match="a free name or a figure of this program"):
        save_figure(drawing, path, overwrite=False)
    save_figure(drawing, path, overwrite=True)
    assert (path.read_bytes(), table.read_bytes()) == before
    assert len(list(tmp_path.iterdir())) == 2
