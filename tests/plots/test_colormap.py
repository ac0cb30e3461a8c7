import numpy as np
import pytest
from matplotlib.colors import to_hex

from marr_pipeline.plots.colormap import lab_to_srgb, share_colormap
from marr_pipeline.plots.style import text_color_on


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
    colors = share_colormap()(np.linspace(0, 1, 64))[:, :3]
    np.testing.assert_allclose(colors[0], 1.0, atol=1e-3)
    np.testing.assert_allclose(np.diff(lightness(colors)), -82 / 63, atol=0.35)


@pytest.mark.parametrize("share", np.linspace(0, 1, 21))
def test_numbers_are_readable_on_every_share(share):
    background = share_colormap()(share)[:3]
    linear = ((lightness(np.array(background)) + 16) / 116) ** 3
    text = 1.0 if text_color_on(background) == "white" else 0.0
    contrast = (max(text, linear) + 0.05) / (min(text, linear) + 0.05)
    assert contrast > 4.5  # WCAG AA
