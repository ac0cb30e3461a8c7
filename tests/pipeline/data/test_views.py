from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from marr_pipeline.data import AUGMENTATIONS
from marr_pipeline.data.views import RandomView
from marr_pipeline.errors import ConfigError
from marr_pipeline.names import LARGE_AUGMENTATIONS, SMALL_AUGMENTATIONS


def drawn(indices, num_draws, *, purpose="cache", seed=0, number=0):
    view = RandomView(purpose=purpose, seed=seed, number=number)
    return view.draw(torch.as_tensor(indices), num_draws).numpy()


@given(
    first=st.integers(0, 2**62),
    offsets=st.lists(st.integers(0, 300), min_size=1, max_size=20),
    purpose=st.sampled_from(["training", "cache"]),
    seed=st.integers(0, 2**64 - 1),
    number=st.integers(0, 2**31 - 1),
    num_draws=st.integers(1, 25),
    data=st.data(),
)
def test_a_row_depends_on_its_own_index_alone(
    first, offsets, purpose, seed, number, num_draws, data
):
    options = {"num_draws": num_draws, "purpose": purpose, "seed": seed, "number": number}
    indices = first + np.array(offsets)
    whole = drawn(indices, **options)
    assert whole.shape == (len(indices), num_draws)
    assert (whole >= 0).all()
    assert (whole < 1).all()
    chosen = data.draw(st.lists(st.integers(0, len(indices) - 1), min_size=1))
    assert np.array_equal(drawn(indices[chosen], **options), whole[chosen])


@pytest.mark.parametrize(("purpose", "stream"), [("cache", 2), ("training", 2**31 + 2)])
def test_numbers_are_53_bits_of_philox_at_the_place_of_the_index(purpose, stream):
    """Four words a step of the counter, so three steps an image for ten."""
    words = np.random.Philox(key=[5, stream]).advance(7 * 3).random_raw(10)
    assert drawn([7], 10, purpose=purpose, seed=5, number=2)[0].tolist() == [
        int(word >> 11) / 2**53 for word in words.tolist()
    ]


def test_purposes_seeds_numbers_and_indices_draw_apart():
    rows = [
        drawn([index], 4, purpose=purpose, seed=seed, number=number).tobytes()
        for purpose, seed, number, index in product(
            ("training", "cache"), (0, 1, 2**32, 2**63), (0, 1, 2**31 - 1), (0, 1, 2**32, 2**33)
        )
    ]
    assert len(set(rows)) == len(rows)


def test_neighbours_are_uniform_and_independent():
    num_images = 20_000
    both = [drawn(np.arange(num_images), 4, seed=5, number=view) for view in (0, 1)]
    columns = np.concatenate(both, axis=1)
    # Seeds are fixed, so these are facts; a bad generator would miss them by far.
    for column in columns.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    pairs = np.concatenate([columns, np.roll(columns[:, :1], 1, axis=0)], axis=1)
    correlation = np.corrcoef(pairs.T) - np.eye(pairs.shape[1])
    assert np.abs(correlation).max() < 4.5 / np.sqrt(num_images)
    # Two numbers of a row, and one number of two neighbours, fill the unit square evenly.
    for other in (1, 4, 8):
        counts, *_ = np.histogram2d(pairs[:, 0], pairs[:, other], bins=16, range=[[0, 1], [0, 1]])
        assert stats.chisquare(counts.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_beyond_64_bits_is_refused(seed):
    with pytest.raises(ConfigError, match=rf"seed: 0 to 2\^64 - 1 expected, got {seed}"):
        drawn([0], 4, seed=seed)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize(
    ("is_streamed", "own", "message"),
    [
        (False, SMALL_AUGMENTATIONS, "images in memory expected at 64 pixels, got .* a larger"),
        (True, LARGE_AUGMENTATIONS, "for large images expected at 64 pixels, got .* a smaller"),
    ],
)
def test_the_steps_of_the_other_kind_of_images_are_refused(name, is_streamed, own, message):
    if name in own:
        AUGMENTATIONS[name].check(64, is_streamed=is_streamed)
    else:
        with pytest.raises(ConfigError, match=message):
            AUGMENTATIONS[name].check(64, is_streamed=is_streamed)
