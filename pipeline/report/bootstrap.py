"""Stratified bootstrap: how far every metric would move on another test set of the same classes.

N samples, K classes, n_j samples of class j, B resamples. A resample draws n_j - 1 samples of each
class with replacement and counts each n_j / (n_j - 1) times. Drawing n_j of them would make the
variance of a class accuracy too small by (n_j - 1) / n_j, a third at iNaturalist's three images a
class (McCarthy and Snowden 1985; Rao and Wu 1988). A class with one sample cannot vary.

All classifiers see the same resamples, so the differences of their metrics are paired.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from marr_pipeline.errors import ConfigError
from marr_pipeline.groups import PAPER_CUTS, Cuts, shot_groups
from marr_pipeline.report.metrics import SUMMARIES, num_sums, score_entries, split_sums, summarise
from marr_pipeline.report.population import Population
from marr_pipeline.report.scores import SampleScores
from marr_pipeline.report.tables import Interval

BLOCK_COUNTS = 2**20
"""Counts drawn at a time, 8 MiB: all arrays of a block together stay below 100 MiB."""
LEVEL = 0.95

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How intervals are made.

    Attributes:
        resamples: B; with 2,000 of them an end of an interval is off by 3 % of its half-width
            (one standard deviation, over seeds).
        seed: of the draws.
    """

    resamples: int = 2_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ConfigError(
                f"resamples: at least 100 expected, since 2.5 % are cut off at either end, got "
                f"{self.resamples}"
            )


def bootstrap_summaries(
    scores: Mapping[str, SampleScores],
    class_counts: npt.NDArray[np.int64],
    *,
    population: Population,
    bootstrap: Bootstrap,
    cuts: Cuts = PAPER_CUTS,
) -> dict[str, Floats]:
    """The metrics of every classifier on every resample.

    Args:
        scores: of each classifier on the same N samples.
        class_counts: (K,) of the training list, which makes the groups.
        population: what a sample of each class counts.
        bootstrap: how many resamples, from which seed.
        cuts: between the groups.

    Returns:
        For each classifier (M, B), rows in the order of `SUMMARIES`.
    """
    groups = shot_groups(class_counts, cuts)
    sums = {name: _sums_matrix(one, population) for name, one in scores.items()}
    found = {name: np.empty((len(SUMMARIES), bootstrap.resamples)) for name in scores}
    labels = next(iter(scores.values())).labels
    start = 0
    for counts in resample_counts(labels, population.samples, bootstrap):
        block = slice(start, start := start + counts.shape[1])
        for name, matrix in sums.items():
            parts = split_sums(matrix @ counts, len(class_counts))
            summaries = summarise(parts, population, groups)
            found[name][:, block] = [summaries[summary] for summary in SUMMARIES]
    return found


def resample_counts(
    labels: npt.NDArray[np.int64], samples: npt.NDArray[np.int64], bootstrap: Bootstrap
) -> Iterator[Floats]:
    """How often each sample counts: (N, b) a block of resamples, B of them in all.

    Args:
        labels: (N,) of the split.
        samples: (K,) n_j.
        bootstrap: the draws do not depend on the size of the blocks.
    """
    by_class = np.argsort(labels, kind="stable")
    draws = np.maximum(samples - 1, np.minimum(samples, 1))
    # One entry a draw: where its class begins in `by_class`, and how many samples that has.
    first = np.repeat(np.cumsum(samples) - samples, draws)
    choices = np.repeat(samples, draws)
    factor = (samples / np.maximum(draws, 1))[labels]
    generator = np.random.default_rng(bootstrap.seed)
    step = max(1, BLOCK_COUNTS // len(labels))
    for start in range(0, bootstrap.resamples, step):
        size = min(step, bootstrap.resamples - start)
        picked = first + (generator.random((size, len(first))) * choices).astype(np.int64)
        place = by_class[picked] * size + np.arange(size)[:, None]
        counts = np.bincount(place.ravel(), minlength=len(labels) * size)
        yield counts.reshape(len(labels), size) * factor[:, None]


def bootstrap_interval(estimate: float, resampled: Floats) -> Interval:
    """The middle 95 % of a metric's resampled values (B,), less twice their bias.

    The bias is their mean less the estimate. It is nothing for metrics that are linear in the
    samples. The calibration error and the harmonic mean are not: resampling moves them to one side,
    as sampling has done once already, and plain percentiles may not even hold the estimate.
    """
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    shift = 2 * (resampled.mean() - estimate)
    return float(low - shift), float(high - shift)


def _sums_matrix(scores: SampleScores, population: Population) -> csr_array:
    """(L, N): times counts (N, b) it gives the sums (L, b)."""
    place, value = score_entries(scores, population)
    sample = np.broadcast_to(np.arange(place.shape[1]), place.shape)
    shape = (num_sums(len(population.samples)), place.shape[1])
    matrix = csr_array((value.ravel(), (place.ravel(), sample.ravel())), shape)
    matrix.eliminate_zeros()
    return matrix
