"""`pipeline plot`: what a figure is told of a cache and of rectifier files."""

import re
import struct

import pytest


@pytest.fixture
def two_files(digits_rectifier, tmp_path):
    """The same rectifier under two names."""
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for file in files:
        file.write_bytes(digits_rectifier.read_bytes())
    return files


@pytest.mark.parametrize(("figure", "quantity"), [("classwise", "f1"), ("curves", "accuracy")])
def test_a_figure_names_methods_and_presets_and_the_files_of_those_alike(
    figure, quantity, run, digits_cache, two_files, tmp_path
):
    both = {"one: marr (default)", "two: marr (default)"}
    for chosen, expected in ((two_files[:1], {"marr (default)"}), (two_files, both)):
        done = run("plot", figure, digits_cache, *chosen, "-o", tmp_path / "figure.png")
        assert done.code == 0
        head = (tmp_path / "figure.csv").read_text().splitlines()[0]
        assert set(re.findall(rf"([^,]+)\.{quantity}", head)) == {"softmax", *expected}


def test_width_dots_and_title_are_the_figures(run, digits_cache, tmp_path):
    path = tmp_path / "figure.png"
    options = ["--width", "column", "--dpi", "100", "-o", path]
    sizes = []
    for title in ("", "A title"):
        assert run("plot", "classwise", digits_cache, *options, "--title", title).code == 0
        sizes.append(struct.unpack(">II", path.read_bytes()[16:24]))
    (width, height), (titled_width, titled_height) = sizes
    assert width == titled_width == 350
    assert height < titled_height < height + 40
    done = run("plot", "curves", digits_cache, *options)
    assert (done.code, done.out) == (2, "")
    assert "curves: a figure of both columns' width expected, got column" in done.err
