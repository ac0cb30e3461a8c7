"""Numbered checks of a cache and its rectifiers: what may be wrong, and what to do about it.

A check is a function of arrays to a `Finding` or None; those of rows alone are in `rows`.
Thresholds are such that a sound cache of a long tail with a thousand classes raises none. R12,
caches of one experiment that differ in more than their seeds, is told by `compare`, which alone
sees several.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.groups import PAPER_CUTS, Cuts, shot_groups
from marr_pipeline.report.scores import SampleScores

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

MEMORISED = 0.95
"""Share of training rows, and mean of their class accuracies, above which a fit learns little."""
DOMINANT = 0.5
"""Share of the rows above which a class is nearly all that a biased network says."""
CONTRADICTION = 0.15
"""Total variation between two class distributions that are said to be one."""
FEWEST_TEST_ROWS = 100
"""Of a group."""
SAME_TAIL = 0.5
"""Of the logarithm of training's imbalance, above which a test split counts as imbalanced too."""
SAME_NLL = 0.01
"""Within which a fit's likelihood is as good as another's."""
MEMORISED_LOSS = 0.1
"""Of log K: 0.037 was a sound default's on memorised digits, 2.29 that of scales pulled to 0."""
FEWEST_ROWS = 100
"""Of a split, below which an accuracy says nothing."""
NAMED = 5


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        code: `R01` to `R17`.
        sentence: what is so.
        remedy: what to do.
    """

    code: str
    sentence: str
    remedy: str

    def record(self) -> dict[str, str]:
        """For JSON."""
        return dict(vars(self))


def absent_classes(class_counts: Counts) -> Finding | None:
    """R01: classes (K,) without training images."""
    absent = np.flatnonzero(class_counts == 0)
    if not len(absent):
        return None
    return Finding(
        "R01",
        f"{len(absent):,} of {len(class_counts):,} classes have no training samples "
        f"({_listed(absent.tolist())}).",
        "No method can learn them from these rows; their prior counts as half a sample. Leave them "
        "out, or get some.",
    )


def memorised_rows(fitted: SampleScores) -> Finding | None:
    """R02: the rows that are fitted are right nearly always, in the rare classes too.

    Where one class has nearly all rows, giving all to it is right nearly always and has learned
    nothing: the mean of the class accuracies has to be as high as the share of the rows.
    """
    rows, right = _rows_and_right(fitted.labels, fitted.predicted)
    share = float(right.sum() / rows.sum())
    balanced = float((right[rows > 0] / rows[rows > 0]).mean())
    if min(share, balanced) <= MEMORISED:
        return None
    return Finding(
        "R02",
        f"The network is right on {100 * share:.1f} % of the rows that are fitted "
        f"({100 * balanced:.1f} % with each class counting alike): it has memorised them, and fits "
        "on them learn little about test samples.",
        "Hold a split out before training (--tune-fraction) and fit or tune on it; on memorised "
        "rows logit adjustment, which fits nothing, is hard to beat.",
    )


def _rows_and_right(labels: Counts, predicted: Counts) -> tuple[Counts, Counts]:
    """Rows of each class (1 + the largest label,), and those that are right."""
    rows = np.bincount(labels)
    return rows, np.bincount(labels[predicted == labels], minlength=len(rows))


def contradicted_prior(
    mean_prediction: Floats, labels: Counts, prior_counts: Floats
) -> Finding | None:
    """R03: the prior that the logits are said to stand for is not the one that they show.

    A network at the minimum of its loss predicts, on its training rows and under their own
    distribution, each class as often as it comes.

    Args:
        mean_prediction: (K,) mean of softmax(logits + log of training's shares over the prior's)
            over training rows.
        labels: (N,) of these rows.
        prior_counts: (K,) said.
    """
    shares = np.bincount(labels, minlength=len(prior_counts)) / len(labels)
    distance = 0.5 * float(np.abs(mean_prediction - shares).sum())
    if distance <= CONTRADICTION:
        return None
    return Finding(
        "R03",
        f"The prior counts of the head do not fit its logits: with them the mean prediction on "
        f"training rows is {distance:.2f} away (total variation) from how often the classes come.",
        "Say what the network was trained on (--prior-counts): logit adjustment corrects by it.",
    )


def unsolved_fits(statuses: Mapping[str, str]) -> Finding | None:
    """R04: fits without a minimum or stopped on the way, by the name of the rectifier."""
    unsolved = {
        name: status for name, status in statuses.items() if status in ("unbounded", "step_limit")
    }
    if not unsolved:
        return None
    told = ", ".join(f"{name} ({status.replace('_', ' ')})" for name, status in unsolved.items())
    return Finding(
        "R04",
        f"Not at a minimum: {told}.",
        "Give a ridge (--l2), a tune split to fit on, or more steps; do not compare such a row's "
        "likelihood.",
    )


def negative_scales(scales: Mapping[str, Floats]) -> Finding | None:
    """R05: rectifiers that turn a class's logit around, by name, scales (K,) each."""
    counts = {name: int((scale < 0).sum()) for name, scale in scales.items()}
    found = {name: count for name, count in counts.items() if count}
    if not found:
        return None
    told = ", ".join(f"{name} for {count:,} classes" for name, count in found.items())
    return Finding(
        "R05",
        f"A scale is negative in {told}: a larger logit of the class makes it less likely.",
        "The class's own logit tells nothing on the rows fitted; pull the scales harder (--l2).",
    )


def imbalanced_test(class_counts: Counts, test_labels: Counts) -> Finding | None:
    """R06: the rows that are scored have the long tail of training."""
    test = np.bincount(test_labels, minlength=len(class_counts))
    both = (class_counts > 0) & (test > 0)
    if both.sum() < 2:
        return None
    trained, tested = np.log(class_counts[both]), np.log(test[both])
    slope = np.polyfit(trained, tested, 1)[0] if np.ptp(trained) > 0 else 0.0
    if slope <= SAME_TAIL:
        return None
    return Finding(
        "R06",
        "The rows scored are imbalanced as training is: overall accuracy rewards the common "
        "classes, and rectification, which serves the rare ones, can only lower it.",
        "Look at balanced accuracy and the groups, or score under another distribution "
        "(compare --class-distribution uniform).",
    )


def small_groups(
    class_counts: Counts, test_labels: Counts, cuts: Cuts = PAPER_CUTS
) -> Finding | None:
    """R07: groups of classes with too few test rows to say anything."""
    test = np.bincount(test_labels, minlength=len(class_counts))
    small = {
        name: int(test[members].sum())
        for name, members in shot_groups(class_counts, cuts).items()
        if members.any() and test[members].sum() < FEWEST_TEST_ROWS
    }
    if not small:
        return None
    told = ", ".join(f"{name} ({rows:,})" for name, rows in small.items())
    return Finding(
        "R07",
        f"Fewer than {FEWEST_TEST_ROWS} rows scored in a group: {told}; its accuracy is uncertain.",
        "Read its interval, not its value.",
    )


def at_chance(labels: Counts, predicted: Counts, num_classes: int) -> Finding | None:
    """R08: training rows (N,) are not recognised, each class counting alike.

    Predictions that know nothing of the labels are right on 1 / K; three standard errors above it,
    of predictions drawn in the shares that are seen, are within chance. A network that gives nearly
    all rows to a class which has most of them is biased, not in another order: as right as that
    class alone, it is passed over. Fewer than 100 rows tell nothing.
    """
    rows, right = _rows_and_right(labels, predicted)
    present = rows > 0
    rate = float((right[present] / rows[present]).mean())
    given = np.bincount(predicted, minlength=len(rows))[: len(rows)] / len(labels)
    variance = (given * (1 - given))[present] / rows[present]
    error = float(np.sqrt(variance.sum())) / present.sum()
    if len(labels) < FEWEST_ROWS or rate > 1 / num_classes + 3 * error:
        return None
    most = rows.max() / len(labels)
    lowest = most - 3 * np.sqrt(most * (1 - most) / len(labels))
    if most > DOMINANT and right.sum() / len(labels) >= lowest:
        return None
    return Finding(
        "R08",
        f"On training rows {100 * rate:.1f} % are right, each class counting alike, which "
        f"is chance for {num_classes:,} classes.",
        "Are labels and the columns of the logits in the same order? Is the head the trained one?",
    )


def other_order(labels: Counts, predicted: Counts) -> Finding | None:
    """R15: training rows (N,) of several classes are recognised as other classes.

    Class j is moved if most of its rows are given to p, and most of the rows of p, in turn, to a
    class that is not p; a network that only prefers common classes does not do so.
    """
    width = int(max(labels.max(), predicted.max())) + 1
    rows = np.bincount(labels, minlength=width)
    pairs, counts = np.unique(labels * width + predicted, return_counts=True)
    of, given = np.divmod(pairs, width)
    is_most = counts > rows[of] / 2 + np.sqrt(rows[of])  # a half, and two standard errors of it
    most = np.full(width, -1)
    most[of[is_most]] = given[is_most]
    is_moved = (most >= 0) & (most != np.arange(width))
    moved = np.flatnonzero(is_moved & is_moved[most])
    if len(moved) < 2:
        return None
    told = [f"{one} as {most[one]}" for one in moved.tolist()]
    return Finding(
        "R15",
        f"Most training rows of {len(moved):,} classes are recognised as another class "
        f"({_listed(told)}), whose own rows are not.",
        "The columns of the logits are in another order than the labels; sorted as text, 10 comes "
        "before 2.",
    )


def worse_on_own_rows(
    nll: Mapping[str, float], fitted: SampleScores, *, softmax: float, num_classes: int
) -> Finding | None:
    """R10: fits that are less likely on their own rows than the softmax that they began from.

    A sound fit raises the class-balanced likelihood of rows that are not memorised. Memorised ones
    are nearly certain already, and a pull makes them less so on purpose, as test rows need it:
    there only a loss of `MEMORISED_LOSS` of chance's, log K, speaks.

    Args:
        nll: class-balanced, of the fitted rows, by the name of the rectifier.
        fitted: these rows under the softmax.
        softmax: its class-balanced NLL of these rows.
        num_classes: K.
    """
    is_memorised = memorised_rows(fitted) is not None
    allowed = MEMORISED_LOSS * float(np.log(num_classes)) if is_memorised else SAME_NLL
    worse = {name: each - softmax for name, each in nll.items() if each > softmax + allowed}
    if not worse:
        return None
    told = ", ".join(f"{name} by {more:.3f}" for name, more in worse.items())
    return Finding(
        "R10",
        f"On the very rows it was fitted on, a rectifier's class-balanced likelihood is worse than "
        f"softmax's: {told}.",
        "Its pull is too strong or toward the wrong centre; tune it (--tune auto).",
    )


def tuned_on_seen_rows(names: Sequence[str]) -> Finding | None:
    """R11: rectifiers whose settings were chosen on rows that phase one has seen."""
    if not names:
        return None
    return Finding(
        "R11",
        f"Tuned on training rows, which the network has seen: {', '.join(names)}.",
        "Their likelihood there is better than on new rows; hold a tune split out.",
    )


def _listed(values: Sequence[Any]) -> str:
    more = f" and {len(values) - NAMED:,} more" if len(values) > NAMED else ""
    return ", ".join(map(str, values[:NAMED])) + more
