"""The colours of shares: white for nothing to dark blue for all, in equal steps to the eye.

Matplotlib's own perceptually uniform maps begin at yellow or black, which on paper turns an empty
matrix into a coloured block. This one is a straight line in CIELAB (D65 white), so equal steps of
the value are equal steps of lightness and of colour distance (CIE 1976).
"""

import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap

NUM_COLORS = 256
PAPER = np.array([100.0, 0.0, 0.0])  # L, a, b
INK = np.array([18.0, 3.0, -36.0])  # dark blue, inside sRGB
WHITE_POINT = np.array([0.95047, 1.0, 1.08883])  # X, Y, Z of D65
XYZ_TO_RGB = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)


def lab_to_srgb(lab: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Colours (..., 3) of sRGB in [0, 1], from CIELAB (..., 3); clipped outside the gamut."""
    lightness = (lab[..., 0] + 16.0) / 116.0
    cube_roots = np.stack(
        [lightness + lab[..., 1] / 500.0, lightness, lightness - lab[..., 2] / 200.0], axis=-1
    )
    near_black = 3.0 * (6.0 / 29.0) ** 2 * (cube_roots - 4.0 / 29.0)
    xyz = np.where(cube_roots > 6.0 / 29.0, cube_roots**3, near_black) * WHITE_POINT
    linear = np.clip(xyz @ XYZ_TO_RGB.T, 0.0, 1.0)
    srgb: npt.NDArray[np.float64] = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1.0 / 2.4) - 0.055
    )
    return srgb


def share_colormap() -> ListedColormap:
    """The colour map of shares, for values of 0 to all."""
    steps = np.linspace(0.0, 1.0, NUM_COLORS)[:, None]
    return ListedColormap(lab_to_srgb(PAPER + steps * (INK - PAPER)), name="share")
