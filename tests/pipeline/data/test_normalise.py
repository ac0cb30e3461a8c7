import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.data import load_dataset
from marr_pipeline.data.normalise import (
    NORMALISATIONS,
    Normalisation,
    channel_statistics,
    normalise,
    parse_normalisation,
)
from marr_pipeline.errors import ConfigError

HALF = NORMALISATIONS["half"]
# Four significant digits are what `text` shows.
SHARE = st.integers(0, 9_999).map(lambda number: number / 10_000)
DEVIATION = st.integers(1, 9_999).map(lambda number: number / 10_000)


@given(st.lists(st.tuples(SHARE, DEVIATION), min_size=1, max_size=4))
def test_the_text_of_a_normalisation_is_read_back(values):
    mean, std = zip(*values, strict=True)
    normalisation = Normalisation(mean, std)
    assert parse_normalisation(normalisation.text) == normalisation
    assert Normalisation.from_record(normalisation.record()) == normalisation


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imagnet", "--normalisation: dataset, cifar, .* or MEAN/STD expected, got imagnet; such"),
        ("0.5,0.5,0.5", "MEAN/STD expected, got 0.5,0.5,0.5"),
        ("0.5/0.5/0.5", "MEAN/STD expected, got"),
        ("0.5,0.5/0.5", "as many deviations as means expected, got 1 and 2"),
        ("0.5/0", "positive deviations expected"),
        ("nan/1", "finite means"),
        ("123.7,116.3,103.5/58.4,57.1,57.4", r"means of pixels in \[0, 1\] .* got 123.7.* by 255"),
    ],
)
def test_what_is_no_normalisation_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_normalisation(text)


def test_one_mean_stands_for_every_channel_and_three_do_not_for_one():
    assert HALF.of_channels(3).mean == (0.5, 0.5, 0.5)
    with pytest.raises(ConfigError, match=r"each of 1 channels, .* got 3; .*--normalisation data"):
        NORMALISATIONS["imagenet"].of_channels(1)


def test_a_normalisation_asked_for_is_in_the_record():
    own, asked = load_dataset("digits-lt"), load_dataset("digits-lt", normalisation=HALF)
    assert asked.normalisation == HALF != own.normalisation
    assert not math.isclose(own.normalisation.mean[0], 0.5)
    record = asked.record()
    assert record.pop("own_normalisation") is False
    assert record == {**own.record(), "normalisation": HALF.record()}


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_normalised_pixels_have_mean_zero_and_deviation_one(seed, channels):
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (5, channels, 8, 8), dtype=np.uint8))
    pixels = normalise(images, channel_statistics(images))
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.zeros(channels), atol=1e-5, rtol=0)
    deviation = pixels.std((0, 2, 3), correction=0)
    torch.testing.assert_close(deviation, torch.ones(channels), atol=1e-5, rtol=0)


def test_normalise_is_the_formula_at_both_ends():
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    pixels = normalise(images, Normalisation((0.25,), (0.5,)))
    torch.testing.assert_close(pixels.flatten(), torch.tensor([-0.5, 1.5]))


def test_a_channel_of_one_value_becomes_zero():
    images = torch.full((2, 1, 8, 8), 7, dtype=torch.uint8)
    pixels = normalise(images, channel_statistics(images))
    torch.testing.assert_close(pixels, torch.zeros(2, 1, 8, 8), atol=1e-6, rtol=0)
