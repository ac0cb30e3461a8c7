"""Which images a pass over the training set takes: samplers that favour rare classes.

`instance` is a permutation of all images. The others draw class j with a given share and then an
image of it uniformly: `balanced` with 1 / K, `square-root` with n_j^(1/2) over the sum of those,
Mahajan et al. (2018), and `reverse` with 1 / n_j over the sum, the sampler of BBN's second branch.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

SHARES: dict[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "balanced": np.ones_like,
    "square-root": np.sqrt,
    "reverse": np.reciprocal,
}
"""Of the counts of the classes that have images, what their shares are proportional to."""

TOGETHER = {"balanced": 4}
"""Images of one class that follow each other; as in Kang et al.'s code, and else 1."""


def draw_rows(
    sampler: str,
    labels: npt.NDArray[np.int64],
    *,
    num_draws: int,
    generator: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Rows of the training split in the order they are taken.

    Each class has its share to within one group of draws, and goes through all its images before
    one comes again: every image has the probability of independent draws, with less variance.

    Args:
        sampler: `instance`, or a key of `SHARES`.
        labels: (N,) of the split.
        num_draws: M; for `instance` at most N.
        generator: decides all.

    Returns:
        (M,) rows in 0..N-1.
    """
    if sampler == "instance":
        return generator.permutation(len(labels))[:num_draws]
    classes, counts = np.unique(labels, return_counts=True)
    shares = SHARES[sampler](counts.astype(np.float64))
    ends = np.cumsum(shares / shares.sum())
    together = TOGETHER.get(sampler, 1)
    num_groups = -(-num_draws // together)
    # Systematic draws: one point in each of num_groups equal parts, all at the same place in it.
    points = (np.arange(num_groups) + generator.random()) / num_groups
    groups = np.bincount(np.searchsorted(ends[:-1], points, side="right"), minlength=len(classes))
    rows = [
        _cycled(np.flatnonzero(labels == label), number * together, generator)
        for label, number in zip(classes, groups, strict=True)
    ]
    grouped = np.concatenate(rows).reshape(num_groups, together)
    return generator.permutation(grouped).ravel()[:num_draws]


def _cycled(
    members: npt.NDArray[np.int64], number: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The first `number` of one shuffled cycle through the members after the other."""
    cycles = [generator.permutation(members) for _ in range(-(-number // len(members)))]
    return np.concatenate([members[:0], *cycles])[:number]
