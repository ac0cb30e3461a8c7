import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.data import load_dataset
from marr_pipeline.data.normalise import (
    NORMALISATIONS,
    Normalisation,
    normalise,
    parse_normalisation,
)
from marr_pipeline.errors import ConfigError

HALF = NORMALISATIONS["half"]
# Four significant digits are what `text` shows.
SHARE = st.integers(0, 9_999).map(lambda number: number / 10_000)
DEVIATION = st.integers(1, 9_999).map(lambda number: number / 10_000)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_a_name_is_its_numbers(name):
    assert parse_normalisation(name) == NORMALISATIONS[name]


@given(st.lists(st.tuples(SHARE, DEVIATION), min_size=1, max_size=4))
def test_the_text_of_a_normalisation_is_read_back(values):
    mean, std = zip(*values, strict=True)
    normalisation = Normalisation(mean, std)
    assert parse_normalisation(normalisation.text) == normalisation
    assert Normalisation.from_record(normalisation.record()) == normalisation


def test_half_brings_pixels_to_minus_one_and_one():
    ends = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 1, 1)
    found = normalise(ends, HALF.of_channels(3))
    assert found[0].unique().tolist() == [-1]
    assert found[1].unique().tolist() == [1]


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
