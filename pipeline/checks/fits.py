"""Numbered checks of fits and of the rows that they are made on: R02 to R05, R08, R10, R11, R15.

N rows, K classes; n of the rows are looked at, see `own_rows`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.checks.own_rows import OwnRows
from marr_pipeline.checks.rows import probabilities_for_logits
from marr_pipeline.findings import Finding
from marr_pipeline.labels import shown
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify.inputs import FitInputs, class_weights, log_prior
from marr_pipeline.rectify.prior.calibration import shares_right
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

ROWS_OF_BLOCK = 100
"""Rows looked at of a block of classes, whose mean prediction is then known to a few per cent."""
MEMORISED = 0.95
"""Share of rows, and mean of their class accuracies, above which a fit learns little."""
DOMINANT = 0.5
"""Share of the rows above which a class is nearly all that a biased network says."""
CONTRADICTION = 0.15
"""Total variation between two class distributions that are said to be one."""
SAME_NLL = 0.01
"""Within which a fit's likelihood is as good as another's."""
TINY = float(np.finfo(np.float64).tiny)
FEWEST_ROWS = 100
"""Below which an accuracy says nothing."""


def fit_findings(rectifiers: Mapping[str, Rectifier]) -> list[Finding | None]:
    """What fits say of themselves, by name."""
    return [unsolved_fits(rectifiers), negative_scales(rectifiers)]


def own_findings(
    inputs: FitInputs, rectifiers: Mapping[str, Rectifier], *, is_probe: bool = False
) -> list[Finding | None]:
    """What the rows that fits are made on say of these and of the network.

    Args:
        inputs: the rows, whose first view is looked at.
        rectifiers: fitted on them, by name.
        is_probe: whether a plain probe made the logits, whose prior is known.
    """
    if inputs.logits is None:
        return []
    rows = OwnRows.of(inputs)
    memorised = None
    if inputs.rows != "held-out":
        memorised = memorised_rows(rows, "plain probe" if is_probe else "network")
    no_logits = probabilities_for_logits(rows.logits)
    return [
        memorised if rectifiers or not is_probe else None,
        None if is_probe or no_logits else contradicted_prior(rows),
        order_finding(rows),
        no_logits,
        # Of memorised rows likelihood says nothing: see docs/checks.md.
        None if memorised else worse_on_own_rows(rows, rectifiers),
    ]


def memorised_rows(rows: OwnRows, network: str) -> Finding | None:
    """R02: the rows that are fitted are right nearly always, in the rare classes too.

    Where one class has nearly all rows, giving all to it is right nearly always and has learned
    nothing: the mean of the class accuracies has to be as high as the share of the rows.
    """
    predicted = torch.from_numpy(rows.softmax.predicted)
    right = shares_right(rows.labels, predicted, torch.from_numpy(rows.class_share))
    if min(right) <= MEMORISED:
        return None
    share, balanced = right
    return Finding(
        "R02",
        f"The {network} is right on {100 * share:.1f} % of the rows that are fitted "
        f"({100 * balanced:.1f} % with each class counting alike): it has memorised them, and fits "
        "on them learn little about new ones.",
        "Hold a split tune out before training, and fit or tune on it; on memorised rows logit "
        "adjustment, which fits nothing, is hard to beat.",
    )


def contradicted_prior(rows: OwnRows) -> Finding | None:
    """R03: the prior that the logits are said to stand for is not the one that they show.

    A network at the minimum of its loss predicts, on its training rows and under their own
    distribution, each class as often as it comes. Classes of alike priors are taken together, since
    a few rows of each say little.
    """
    shares = rows.class_share
    own = log_prior(torch.from_numpy(shares * rows.num_rows))
    surplus = rows.mean_prediction(own - rows.log_prior) - shares
    num_blocks = min(len(shares), max(2, len(rows.labels) // ROWS_OF_BLOCK))
    by_prior = np.argsort(rows.log_prior.numpy(), kind="stable")
    blocks = np.array_split(surplus[by_prior], num_blocks)
    distance = 0.5 * float(sum(abs(block.sum()) for block in blocks))
    if distance <= CONTRADICTION:
        return None
    return Finding(
        "R03",
        f"The prior counts of the head do not fit its logits: with them the mean prediction on "
        f"its rows is {distance:.2f} away (total variation) from how often the classes come.",
        "Say what the network was trained on (prior counts): logit adjustment corrects by it.",
    )


def unsolved_fits(rectifiers: Mapping[str, Rectifier]) -> Finding | None:
    """R04: fits without a minimum, or stopped before they were at one."""
    said = {name: one.metadata for name, one in rectifiers.items()}
    unbounded = [name for name, each in said.items() if each.get("status") == FitStatus.UNBOUNDED]
    stopped = [
        f"{name} (at a gradient of {each['gradient_norm']:.1e}, tolerance {each['tolerance']:g})"
        for name, each in said.items()
        if each.get("status") == FitStatus.STEP_LIMIT
    ]
    parts = []
    if unbounded:
        parts.append(
            f"no minimum: {shown(unbounded)}; every row is on its own side, so without a ridge the "
            "loss falls for ever and the numbers fitted mean nothing"
        )
    if stopped:
        parts.append(f"stopped before the minimum: {shown(stopped)}")
    if not parts:
        return None
    told = "; ".join(parts)
    return Finding(
        "R04",
        f"{told[0].upper()}{told[1:]}.",
        "Give a ridge (--l2; the paper: 5e-4) or a larger one, rows that the network has not seen "
        "(--fit-split tune), or another --optimizer or --tolerance.",
    )


def negative_scales(rectifiers: Mapping[str, Rectifier]) -> Finding | None:
    """R05: rectifiers that turn a class's logit around."""
    counts = {name: int((one.scale < 0).sum()) for name, one in rectifiers.items()}
    told = [f"{name} for {count:,} classes" for name, count in counts.items() if count]
    if not told:
        return None
    return Finding(
        "R05",
        f"A scale is negative in {shown(told)}: a larger logit of the class makes it less likely.",
        "The class's own logit tells nothing on the rows fitted; pull the scales harder (--l2).",
    )


def order_finding(rows: OwnRows) -> Finding | None:
    """Of classes in another order, the more telling of R15 and R08."""
    labels, predicted = rows.softmax.labels, rows.softmax.predicted
    return other_order(labels, predicted) or at_chance(labels, predicted, len(rows.class_counts))


def at_chance(labels: Counts, predicted: Counts, num_classes: int) -> Finding | None:
    """R08: rows (n,) are not recognised, each class counting alike.

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
        f"Of the rows fitted {100 * rate:.1f} % are right, each class counting alike, which "
        f"is chance for {num_classes:,} classes.",
        "Are labels and the columns of the logits in the same order? Is the head the trained one?",
    )


def other_order(labels: Counts, predicted: Counts) -> Finding | None:
    """R15: rows (n,) of several classes are recognised as other classes.

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
        f"Most rows of {len(moved):,} classes are recognised as another class "
        f"({shown(told)}), whose own rows are not.",
        "The columns of the logits are in another order than the labels; sorted as text, 10 comes "
        "before 2.",
    )


def worse_on_own_rows(rows: OwnRows, rectifiers: Mapping[str, Rectifier]) -> Finding | None:
    """R10: fits that are less likely on their own rows than the softmax that they began from.

    By the likelihood that each has maximised: with its class weights U, and for a whole head, whose
    logits stand for another prior than its loss has, brought to that. What it can lose is its pull.
    On memorised rows that is as it should be, and nothing follows for new ones.
    """
    worse, is_tuned = [], True
    for name, one in rectifiers.items():
        if one.metadata.get("loss") is None or "target_prior" in one.metadata:
            continue
        weights = class_weights(rows.class_counts, float(one.metadata["gamma"]))
        weight = rows.share * weights[rows.labels].numpy()
        shift: Tensor | float = 0.0
        if isinstance(one, HeadRectifier) and one.log_prior is not None:
            shift = (torch.from_numpy(rows.class_share) * weights).clamp(min=TINY).log()
            shift = shift - one.log_prior
        weight /= max(weight.sum(), TINY)
        change = rows.scores(one, shift).nll - rows.softmax.nll
        lost = float(weight @ change)
        error = float(np.linalg.norm(weight * (change - lost)))
        if lost - 2 * error > SAME_NLL:
            worse.append(f"{name} by {lost:.3f}")
            is_tuned = is_tuned and one.metadata.get("tuning") is not None
    if not worse:
        return None
    return Finding(
        "R10",
        f"On the very rows that it was fitted on, a rectifier is less likely than softmax: "
        f"{shown(worse)}.",
        "Its pull is too strong or toward the wrong centre: lower --l2"
        f"{'' if is_tuned else ', or tune it (--tune auto)'}.",
    )


def tuned_on_seen_rows(names: Sequence[str]) -> Finding | None:
    """R11: rectifiers whose settings were chosen on rows that phase one has seen."""
    if not names:
        return None
    return Finding(
        "R11",
        f"Tuned by cross-validation over rows that the network was trained on: {shown(names)}; it "
        "is surer of them than of new ones.",
        "Hold a split tune out before training, or keep the preset (--tune off).",
    )


def _rows_and_right(labels: Counts, predicted: Counts) -> tuple[Counts, Counts]:
    """Rows of each class (1 + the largest label,), and those that are right."""
    rows = np.bincount(labels)
    return rows, np.bincount(labels[predicted == labels], minlength=len(rows))
