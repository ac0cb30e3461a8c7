"""Random numbers by place: each is a function of a key and a counter, not of what was drawn before.

Philox4x32-10 of Salmon, Moraes, Dror and Shaw (2011), "Parallel random numbers: as easy as 1, 2,
3", in NumPy: four 32-bit words of counter and two of key become four words of noise. So the
numbers of one image of one view can be drawn alone, in any order and in any subset.
"""

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
"""32-bit words, in 64 bits so that their products fit."""

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_NUM_ROUNDS = 10
_MASK = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, ...]:
    """Four words of noise for every counter.

    Args:
        counter: four arrays of one shape, each value below 2^32.
        key: two numbers below 2^32.

    Returns:
        Four arrays of that shape, each value uniform below 2^32.
    """
    first, second, third, fourth = counter
    for number in range(_NUM_ROUNDS):
        keys = [
            np.uint64((word + number * step) % 2**32)
            for word, step in zip(key, _KEY_STEPS, strict=True)
        ]
        left, right = first * _MULTIPLIERS[0], third * _MULTIPLIERS[1]
        first, third = (right >> _WORD) ^ second ^ keys[0], (left >> _WORD) ^ fourth ^ keys[1]
        second, fourth = right & _MASK, left & _MASK
    return first, second, third, fourth


def uniforms(
    ids: npt.NDArray[np.int64], *, seed: int, stream: int, num_draws: int
) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits each.

    Args:
        ids: (N,) at least 0, in any order, also repeated.
        seed: 0 to 2^64 - 1.
        stream: 0 to 2^32 - 1; streams of one seed are independent of each other.
        num_draws: numbers for each id.

    Returns:
        (N, num_draws); row i is a function of (seed, stream, ids[i]) alone.
    """
    num_pairs = (num_draws + 1) // 2
    unsigned = np.broadcast_to(ids.astype(np.uint64)[:, None], (len(ids), num_pairs))
    counter = (
        unsigned & _MASK,
        unsigned >> _WORD,
        np.full(unsigned.shape, stream, dtype=np.uint64),
        np.broadcast_to(np.arange(num_pairs, dtype=np.uint64), unsigned.shape),
    )
    words = philox(counter, (seed % 2**32, seed >> 32))
    pairs = [_fraction(words[0], words[1]), _fraction(words[2], words[3])]
    return np.stack(pairs, axis=-1).reshape(len(ids), -1)[:, :num_draws]


def _fraction(high: Words, low: Words) -> npt.NDArray[np.float64]:
    """27 bits of one word and 26 of another as a number in [0, 1)."""
    whole = ((high >> np.uint64(5)) << np.uint64(26)) | (low >> np.uint64(6))
    return whole.astype(np.float64) * 2.0**-53
