import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.data import load_dataset
from marr_pipeline.data.images import ImageSplit, check_labels
from marr_pipeline.data.normalise import Normalisation, channel_statistics, normalise
from marr_pipeline.errors import ConfigError, DataError


def split_of(images, labels):
    return ImageSplit(images, torch.as_tensor(labels), torch.arange(len(images)))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 8, 8), "uint8 expected, got .* torch.float32"),
        (
            torch.zeros(2, 8, 8, dtype=torch.uint8),
            r"\(N, C, H, W\) uint8 expected, got \(2, 8, 8\)",
        ),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8).permute(0, 3, 1, 2), "contiguous"),
    ],
)
def test_images_of_another_kind_are_refused(images, message):
    with pytest.raises(DataError, match=message):
        split_of(images, [0, 1])


def test_labels_of_another_length_are_refused():
    with pytest.raises(DataError, match=r"labels: \(2,\) int64 expected, got \(3,\)"):
        ImageSplit(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.arange(3), torch.arange(2))


@pytest.mark.parametrize(("labels", "got"), [([0, 3], "0..3"), ([-1, 2], "-1..2")])
def test_labels_outside_the_classes_are_refused(labels, got):
    with pytest.raises(DataError, match=rf"here: labels must lie in 0..2, got {got}"):
        check_labels(torch.tensor(labels), 3, where="here")


def test_no_image_at_all_is_refused():
    with pytest.raises(DataError, match="at least one image expected"):
        check_labels(torch.empty(0, dtype=torch.int64), 3, where="here")


def test_an_empty_class_is_named():
    digits = load_dataset("digits-lt")
    keep = digits.train.labels != 4
    train = split_of(digits.train.images[keep], digits.train.labels[keep])
    counts = digits.class_counts.copy()
    counts[4] = 0
    with pytest.raises(DataError, match="empty class '4'"):
        dataclasses.replace(digits, train=train, class_counts=counts)


def test_counts_of_other_labels_are_refused():
    digits = load_dataset("digits-lt")
    with pytest.raises(DataError, match=r"class_counts .* expected from the training labels"):
        dataclasses.replace(digits, class_counts=digits.class_counts[::-1].copy())


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


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5,), (0.0,), "positive deviations expected"),
        ((float("nan"),), (1.0,), "finite means"),
        ((0.5, 0.5), (1.0,), "got 1 and 2"),
    ],
)
def test_impossible_statistics_are_refused(mean, std, message):
    with pytest.raises(ConfigError, match=message):
        Normalisation(mean, std)
