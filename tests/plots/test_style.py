import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex

from marr_pipeline.plots.style import (
    lab_to_srgb,
    look,
    new_figure,
    share_colormap,
    shorten,
    text_color_on,
    text_width,
)

DRAW = """
import sys
import numpy as np
from pathlib import Path
from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.confusion import draw_confusion
from marr_pipeline.plots.save import save_drawing
axis = ClassAxis(class_counts=np.array([3, 1]), groups={"all": np.ones(2, bool)})
save_drawing(draw_confusion(axis, {"softmax": np.eye(2, dtype=int)}), Path(sys.argv[1]) / "a.png")
sys.exit("matplotlib.pyplot" in sys.modules)
"""


def test_no_figure_ever_loads_pyplot(tmp_path):
    assert subprocess.run([sys.executable, "-c", DRAW, str(tmp_path)], check=False).returncode == 0
    assert (tmp_path / "a.png").is_file()


def test_the_look_ignores_the_users_settings_and_leaves_them_alone():
    with mpl.rc_context({"font.size": 30.0, "axes.facecolor": "red"}):
        with look():
            assert mpl.rcParams["font.size"] < 10
            assert mpl.rcParams["axes.facecolor"] == "white"
        assert mpl.rcParams["font.size"] == 30.0
        assert mpl.rcParams["axes.facecolor"] == "red"


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [("marr", 4, "marr"), ("logit-adjustment", 9, "logi…ment"), ("abcdef", 4, "ab…f")],
)
def test_long_names_lose_their_middle(text, length, expected):
    assert shorten(text, length=length) == expected


def test_text_width_is_what_the_renderer_draws():
    with look():
        figure = new_figure(3.0, 1.0, layout="constrained")
        text = figure.text(0.1, 0.5, "medium $5", fontsize=7.0)
        drawn = text.get_window_extent().width * 72 / figure.dpi
        assert text_width("medium $5", size=7.0) == pytest.approx(drawn, abs=1.0)
        assert text_width(" ", size=7.0) == 0.0


def test_a_dollar_sign_is_text_and_not_mathematics():
    with look():
        assert text_width("$a$", size=7.0) > text_width("a", size=7.0) + 7.0


@pytest.mark.parametrize(
    ("lab", "color"),
    [
        ([100.0, 0.0, 0.0], "#ffffff"),
        ([0.0, 0.0, 0.0], "#000000"),
        ([53.585, 0.0, 0.0], "#808080"),
        ([53.241, 80.092, 67.203], "#ff0000"),
        ([32.297, 79.188, -107.860], "#0000ff"),
    ],
)
def test_known_colors(lab, color):
    assert to_hex(lab_to_srgb(np.array(lab))) == color


def lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE L* from sRGB, by the standard's own direction."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126729, 0.7151522, 0.0721750])
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)


def test_lightness_falls_in_equal_steps_from_white():
    colors = share_colormap()(np.arange(256))[:, :3]
    np.testing.assert_allclose(colors[0], 1.0, atol=1e-3)
    np.testing.assert_allclose(np.diff(lightness(colors)), -82 / 255, atol=1e-3)
    assert colors.min() > 0  # a colour outside sRGB would be clipped there


@pytest.mark.parametrize("share", np.linspace(0, 1, 21))
def test_numbers_are_readable_on_every_share(share):
    background = share_colormap()(share)[:3]
    linear = ((lightness(np.array(background)) + 16) / 116) ** 3
    text = 1.0 if text_color_on(background) == "white" else 0.0
    contrast = (max(text, linear) + 0.05) / (min(text, linear) + 0.05)
    assert contrast > 4.5  # WCAG AA
