import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import v2

from marr_pipeline.data import AUGMENTATIONS
from marr_pipeline.data.augment import augment_batch, draw_epoch
from marr_pipeline.data.large import (
    AREA,
    FLIP,
    JITTER,
    LARGE_NUM_DRAWS,
    LEFT,
    ORDER,
    RATIO,
    TOP,
    crop_window,
    large_eval,
    large_view,
)
from marr_pipeline.errors import ConfigError

CROP, JITTERED = AUGMENTATIONS["resized-crop-flip"], AUGMENTATIONS["resized-crop-jitter"]


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    return coarse.resize((320, 200), Image.Resampling.BICUBIC)


def uniforms_of(**columns):
    """Numbers of 0.5: no flip, and a square of 54 % of the area in the middle."""
    draws = torch.full((LARGE_NUM_DRAWS,), 0.5, dtype=torch.float64)
    places = {"area": AREA, "ratio": RATIO, "top": TOP, "left": LEFT, "flip": FLIP, "order": ORDER}
    for name, value in columns.items():
        draws[{**places, "jitter": JITTER}[name]] = torch.as_tensor(value, dtype=torch.float64)
    return draws


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_the_test_view_is_resize_256_and_centre_224(picture):
    reference = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])
    assert torch.equal(large_eval(picture), reference(picture))


def test_the_test_view_keeps_its_share_at_another_size(picture):
    reference = v2.Compose([v2.Resize(128), v2.CenterCrop(112), v2.PILToTensor()])
    assert torch.equal(large_eval(picture, size=112), reference(picture))


@pytest.mark.parametrize("flip", [0.0, 0.49, 0.5])
def test_a_view_is_pillows_crop_and_resize(flip, picture):
    draws = uniforms_of(area=0.1, ratio=0.25, top=0.9, left=0.2, flip=flip)
    top, left, rows, columns = crop_window(200, 320, draws.tolist())
    window = picture.crop((left, top, left + columns, top + rows))
    expected = window.resize((64, 64), Image.Resampling.BILINEAR)
    expected = ImageOps.mirror(expected) if flip < 0.5 else expected
    assert torch.equal(large_view(picture, draws, CROP, size=64), to_tensor(expected))


@pytest.mark.parametrize(
    ("order", "steps"), [(0.0, (0, 1, 2)), (0.3, (0, 2, 1)), (0.5, (1, 2, 0)), (0.99, (2, 1, 0))]
)
def test_jitter_is_pillows_in_the_drawn_order(order, steps, picture):
    draws = uniforms_of(order=order, jitter=[0.0, 1.0, 0.25])
    factors = (0.6, 1.4, 0.8)
    expected = Image.fromarray(large_view(picture, draws, CROP, size=48).permute(1, 2, 0).numpy())
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for step in steps:
        expected = enhancers[step](expected).enhance(factors[step])
    assert torch.equal(large_view(picture, draws, JITTERED, size=48), to_tensor(expected))


@pytest.mark.parametrize("augmentation", [CROP, JITTERED, AUGMENTATIONS["none"]])
def test_a_tensor_gives_nearly_the_view_of_its_picture(augmentation, picture):
    draws = draw_epoch(torch.arange(4), seed=0, epoch=1, num_draws=LARGE_NUM_DRAWS)
    for row in draws:
        ours = large_view(picture, row, augmentation, size=64)
        other = large_view(to_tensor(picture), row, augmentation, size=64)
        assert ours.shape == other.shape == (3, 64, 64)
        # Pillow and torch round differently after each step.
        assert float((ours.float() - other.float()).abs().mean()) < 1.5


@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    seed=st.integers(0, 2**32),
)
def test_a_window_lies_inside_with_the_area_and_the_ratio(height, width, seed):
    (draws,) = draw_epoch(torch.tensor([7]), seed=seed, epoch=0, num_draws=LARGE_NUM_DRAWS).tolist()
    top, left, rows, columns = crop_window(height, width, draws)
    assert 0 <= top <= top + rows <= height
    assert 0 <= left <= left + columns <= width
    assert rows > 0
    assert columns > 0
    if min(height, width) >= 100 and max(height, width) <= 1.3 * min(height, width):
        assert 3 / 4 - 0.05 < columns / rows < 4 / 3 + 0.05
        assert rows * columns / (height * width) > 0.07


# A window of at least 8 % of such a strip is higher (or wider) than it whatever the draw.
@pytest.mark.parametrize(
    ("size", "window"),
    [((10, 1000), (0, 493, 10, 13)), ((1000, 10), (493, 0, 13, 10)), ((1, 400), (0, 199, 1, 1))],
)
def test_a_strip_gives_its_centre(size, window):
    assert crop_window(*size, uniforms_of().tolist()) == window


def test_the_first_try_that_fits_is_taken():
    # 200 x 320: the whole area with ratio 1 is 253 pixels high; the third try is a ninth of it.
    area = [1.0, 1.0, (1 / 9 - 0.08) / 0.92, *[0.5] * 7]
    draws = uniforms_of(area=area, top=0.0, left=0.0).tolist()
    side = round(math.sqrt(200 * 320 / 9))
    assert crop_window(200, 320, draws) == (0, 0, side, side)


def test_areas_and_ratios_are_spread_evenly():
    draws = draw_epoch(torch.arange(4_000), seed=0, epoch=0, num_draws=LARGE_NUM_DRAWS)
    windows = np.array([crop_window(4_000, 4_000, row) for row in draws.tolist()])
    area = windows[:, 2] * windows[:, 3] / 4_000**2
    small = area[area < 0.5]  # fits at every ratio
    counts, _ = np.histogram(small, bins=6, range=(0.08, 0.5))
    assert np.abs(counts - len(small) / 6).max() < 5 * math.sqrt(len(small) / 6)
    assert abs(np.log(windows[:, 3] / windows[:, 2]).mean()) < 0.02


def test_each_kind_of_image_refuses_the_others_steps(picture):
    batch = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ConfigError, match=r"for images in memory, got .*resized_crop=True"):
        augment_batch(batch, draw_epoch(torch.arange(1), seed=0, epoch=0), CROP)
    with pytest.raises(ConfigError, match=r"read from their files, got .*crop=True"):
        large_view(picture, uniforms_of(), AUGMENTATIONS["crop"])
