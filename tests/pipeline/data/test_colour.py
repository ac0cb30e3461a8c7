import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from marr_pipeline.data import colour

ENHANCERS = {
    "brightness": (colour.adjust_brightness, ImageEnhance.Brightness),
    "colour": (colour.adjust_colour, ImageEnhance.Color),
    "contrast": (colour.adjust_contrast, ImageEnhance.Contrast),
    "sharpness": (colour.adjust_sharpness, ImageEnhance.Sharpness),
}


def noise(seed, *, low=0, high=255, mode="RGB", size=(9, 12)):
    shape = size if mode == "L" else (*size, 3)
    pixels = np.random.default_rng(seed).integers(low, high + 1, shape, dtype=np.uint8)
    return Image.fromarray(pixels)


def to_batch(*images):
    pixels = np.stack([np.array(image).reshape(*image.size[::-1], -1) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", ENHANCERS)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), factors=st.tuples(st.floats(0, 2), st.floats(0, 2)))
def test_a_factor_is_pillows(name, mode, seed, factors):
    adjust, enhancer = ENHANCERS[name]
    images = [noise(seed, mode=mode), noise(seed + 1, low=60, high=90, mode=mode)]
    expected = [
        enhancer(image).enhance(factor) for image, factor in zip(images, factors, strict=True)
    ]
    actual = adjust(to_batch(*images), torch.tensor(factors, dtype=torch.float64))
    assert torch.equal(actual, to_batch(*expected))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), low=st.integers(0, 255), span=st.integers(0, 255))
def test_histograms_are_pillows(seed, low, span):
    # 30 x 40 pixels: above 255 a channel, or Pillow leaves the image as it is.
    image = noise(seed, low=low, high=min(255, low + span), size=(30, 40))
    batch = to_batch(image, noise(seed + 1, size=(30, 40)))
    assert torch.equal(colour.equalize(batch)[:1], to_batch(ImageOps.equalize(image)))
    assert torch.equal(colour.autocontrast(batch)[:1], to_batch(ImageOps.autocontrast(image)))


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_is_pillows(bits):
    image = noise(bits)
    expected = to_batch(ImageOps.posterize(image, bits))
    assert torch.equal(colour.posterize(to_batch(image), torch.tensor([float(bits)])), expected)


@pytest.mark.parametrize("threshold", [0.0, 28.4, 128.0, 255.0, 256.0])
def test_solarize_is_pillows(threshold):
    image = noise(1)
    expected = to_batch(ImageOps.solarize(image, threshold))
    assert torch.equal(colour.solarize(to_batch(image), torch.tensor([threshold])), expected)


def test_one_value_has_no_contrast_to_gain():
    flat = torch.full((1, 3, 20, 20), 9, dtype=torch.uint8)
    assert torch.equal(colour.autocontrast(flat), flat)
    assert torch.equal(colour.equalize(flat), flat)


def test_hand_computed_values():
    image = torch.tensor([[[[0, 100], [150, 250]]]], dtype=torch.uint8)
    assert colour.adjust_brightness(image, torch.tensor([1.9])).flatten().tolist() == [
        *(0, 190, 255, 255)
    ]
    # Mean grey is 125: 125 + 0.5 (x - 125), rounded down.
    assert colour.adjust_contrast(image, torch.tensor([0.5])).flatten().tolist() == [
        *(62, 112, 137, 187)
    ]
    assert colour.autocontrast(image).flatten().tolist() == [0, 102, 153, 255]
    assert colour.invert(image).flatten().tolist() == [255, 155, 105, 5]


def test_the_edge_keeps_its_sharpness():
    image = to_batch(noise(3))
    blurred = colour.adjust_sharpness(image, torch.tensor([0.0]))
    changed = (blurred != image).any(1)[0]
    edge = torch.ones_like(changed)
    edge[1:-1, 1:-1] = False
    assert not changed[edge].any()
    assert changed[1:-1, 1:-1].float().mean() > 0.9
