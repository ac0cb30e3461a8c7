"""Whether two classifiers that saw the same samples differ by more than chance.

N samples, of which one classifier alone has b right and the other alone c. If neither is better,
each of these b + c discordant samples was won by the toss of a coin.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import erfc
from scipy.stats import binomtest

from marr_pipeline.report.population import Population
from marr_pipeline.report.scores import SampleScores


def paired_p_value(first: SampleScores, second: SampleScores, population: Population) -> float:
    """Two-sided p of equal accuracy in a population of the samples' classes.

    McNemar's exact test where all samples count the same. Otherwise its weighted form: with s = 1
    where only the first is right, -1 where only the second is, and v what a sample counts,
    sum(v s) / sqrt(sum(v^2 s^2)) is standard normal for large counts; with v = 1 its square is
    McNemar's statistic (b - c)^2 / (b + c).
    """
    is_right = first.predicted == first.labels
    won = is_right.astype(np.int64) - (second.predicted == second.labels)
    if population.is_as_sampled:
        num_won, num_lost = int((won > 0).sum()), int((won < 0).sum())
        return exact_mcnemar(num_won, num_lost)
    gain = population.weight[first.labels] * won
    spread = math.sqrt(float((gain**2).sum()))
    return float(erfc(abs(gain.sum()) / (spread * math.sqrt(2)))) if spread > 0 else 1.0


def exact_mcnemar(num_won: int, num_lost: int) -> float:
    """Two-sided p of `num_won` heads in all tosses of a fair coin; 1 without a toss."""
    num_tosses = num_won + num_lost
    return float(binomtest(num_won, num_tosses).pvalue) if num_tosses else 1.0


def holm(p_values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Adjusted p (M,): below alpha, with at most alpha chance of one false finding among M.

    The r-th smallest of M is multiplied by M - r + 1, and none may lie below a smaller one (Holm
    1979).
    """
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    scaled = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty(len(given))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
