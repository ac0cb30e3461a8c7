import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from marr_pipeline.data.philox import philox, uniforms

FULL = 2**32 - 1


# The answers that the authors publish with their own code (Random123, kat_vectors).
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((FULL,) * 4, (FULL, FULL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter, key, expected):
    words = philox(tuple(np.array([word], dtype=np.uint64) for word in counter), key)
    assert tuple(int(word[0]) for word in words) == expected


def test_a_number_is_made_of_53_bits_by_hand():
    first = philox((np.array([7], np.uint64), *[np.array([0], np.uint64)] * 3), (3, 0))
    high, low = int(first[0][0]) >> 5, int(first[1][0]) >> 6
    drawn = uniforms(np.array([7]), seed=3, stream=0, num_draws=1)
    assert drawn.tolist() == [[(high * 2**26 + low) / 2**53]]


@given(
    ids=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=20),
    seed=st.integers(0, 2**64 - 1),
    stream=st.integers(0, FULL),
    num_draws=st.integers(1, 11),
    data=st.data(),
)
def test_a_row_depends_on_its_own_id_alone(ids, seed, stream, num_draws, data):
    options = {"seed": seed, "stream": stream}
    whole = uniforms(np.array(ids), num_draws=num_draws, **options)
    assert whole.shape == (len(ids), num_draws)
    assert (whole >= 0).all()
    assert (whole < 1).all()
    chosen = data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=1))
    some = uniforms(np.array(ids)[chosen], num_draws=num_draws, **options)
    assert np.array_equal(some, whole[chosen])
    longer = uniforms(np.array(ids), num_draws=num_draws + 3, **options)
    assert np.array_equal(longer[:, :num_draws], whole)


def test_seeds_streams_and_ids_draw_apart():
    rows = [
        uniforms(np.array([id_]), seed=seed, stream=stream, num_draws=4).tobytes()
        for id_ in (0, 1, 2**32, 2**33)
        for seed in (0, 1, 2**32)
        for stream in (0, 1, FULL)
    ]
    assert len(set(rows)) == len(rows)


def test_neighbours_are_uniform_and_independent():
    num_ids = 20_000
    drawn = np.concatenate(
        [uniforms(np.arange(num_ids), seed=5, stream=view, num_draws=4) for view in (0, 1)], axis=1
    )
    # Seeds are fixed, so these are facts; a bad generator would miss them by far.
    for column in drawn.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    pairs = np.concatenate([drawn, np.roll(drawn[:, :1], 1, axis=0)], axis=1)
    correlation = np.corrcoef(pairs.T) - np.eye(pairs.shape[1])
    assert np.abs(correlation).max() < 4.5 / np.sqrt(num_ids)
    # Two numbers of a row, and one number of two neighbours, fill the unit square evenly.
    for other in (1, 4, 8):
        counts, *_ = np.histogram2d(pairs[:, 0], pairs[:, other], bins=16, range=[[0, 1], [0, 1]])
        assert stats.chisquare(counts.ravel()).pvalue > 1e-3
