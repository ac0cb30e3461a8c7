"""Probabilities that are right under the class shares of labelled rows: bcts of rectified logits.

K classes, R rows with labels, r = their class shares. Bias-corrected temperature scaling
(Alexandari et al. 2020) fits one scale a and K shifts c to

    F(a, c) = (1/R) sum_i CE(a * rectified_i + c, y_i) + ridge,

so that softmax(a * rectified + c) stands for r, whatever the rectified logits stand for. An
estimate of an unknown prior needs that; uncalibrated it is off by 0.1 to 0.6 in total variation.

The ridge is a prior that weighs as much as a shift known to within 1.8 (`RIDGE` = 1 / 1.8^2), about
scale 1 and the shifts log r - log p by which the rectified logits' own prior p becomes r; on the
scale it is a hundred times weaker. Without it K shifts from a few rows a class are noise, and rows
that can be separated have no minimum. Chosen on ten sets of logits of CIFAR-10-LT and CIFAR-100-LT
networks, calibrated on 3, 10 and 30 rows a class, balanced and long-tailed, by what an estimate of
four priors was worth (total variation, mean of the networks | of the heads on features):

    ridge           0.1           0.3           1             10
    3 a class    .195 | .187   .192 | .174   .205 | .159   .240 | .173
    10           .152 | .132   .158 | .130   .176 | .129   .239 | .158
    30           .121 | .108   .122 | .107   .126 | .107   .197 | .126

Stronger ones are better where the logits are right already, and keep the faults of those that are
not. Scales and shifts that were fitted on the very rows are calibrated no worse than those of folds
(0.173 and 0.173, 15 rows a class); a whole head must not have seen them.
"""

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.optim.newton import minimize_newton
from marr_pipeline.optim.ridge import Ridge
from marr_pipeline.rectify.affine import AffineFamily, AffineProblem
from marr_pipeline.rectify.inputs import log_prior
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.rectifier import Calibration, ConfidenceRectifier, Rectifier
from marr_pipeline.rectify.rows.thinning import thin_rows

RIDGE = 0.3
"""In rows."""
SCALE_UNIT = 10.0
"""Of the scale's parameter: the ridge on it counts a hundredth."""
TOLERANCE = 1e-3
"""On the gap bound; with so weak a ridge the gap itself is far below it."""
LOGITS = 2**24
"""So many are looked at, or a little more: rows of each class alike, which is what shifts need."""
LEAST_ROWS_PER_CLASS = 4
AnyRectifier = TypeVar("AnyRectifier", bound=Rectifier)


def shares_right(labels: Tensor, predicted: Tensor, counts: Tensor) -> tuple[float, float]:
    """The share of all rows that are right, and the mean of the class accuracies.

    Args:
        labels: (R,) of some rows of each class.
        predicted: (R,) classes.
        counts: (K,) rows of each class that these stand for, in any unit.
    """
    looked_at = torch.bincount(labels, minlength=len(counts))
    right = torch.bincount(labels[predicted == labels], minlength=len(counts))
    present = looked_at > 0
    accuracy, weight = (right[present] / looked_at[present]).double(), counts[present].double()
    return float(weight @ accuracy / weight.sum()), float(accuracy.mean())


def calibration_rows(labels: Tensor, num_classes: int) -> Tensor:
    """Numbers (M,) int64 of the rows to calibrate on, out of those with labels (R,)."""
    per_class = max(LEAST_ROWS_PER_CLASS, LOGITS // num_classes**2)
    rows, _ = thin_rows(labels, num_classes, per_class)
    return rows.sort().values


def fit_calibration(
    rectified: Tensor, labels: Tensor, prior: Tensor | None, *, split: str, is_seen: bool = False
) -> Calibration:
    """One scale and K shifts for rectified logits.

    Args:
        rectified: (R, K).
        labels: (R,) int64.
        prior: (K,) logarithm of the class shares that they stand for; None if unknown.
        split: where the rows are from.
        is_seen: whether the network was trained on them.

    Raises:
        FitError: the loss ran out of finite numbers.
    """
    num_classes = rectified.shape[1]
    family = AffineFamily(
        num_classes=num_classes,
        scale="shared",
        shift_unit=torch.ones(num_classes, dtype=torch.float64),
    )
    of_rows = log_prior(torch.bincount(labels, minlength=num_classes))
    shift = torch.zeros_like(of_rows) if prior is None else of_rows - prior
    center = family.parameters(1 / SCALE_UNIT, shift - shift.mean())
    loss = WeightedCrossEntropy(
        rectified.float() * SCALE_UNIT,
        labels,
        torch.ones(num_classes, dtype=torch.float64),
        reduction="plain",
    )
    problem = AffineProblem(loss, family, Ridge(l2=RIDGE / len(labels), center=center))
    scale, shift = family.affine(minimize_newton(problem, center, TOLERANCE).theta)
    return Calibration(
        scale=scale[0] * SCALE_UNIT,
        shift=shift,
        log_prior=of_rows,
        split=split,
        num_rows=len(labels),
        is_seen=is_seen,
    )


def check_shiftable(rectifier: Rectifier) -> None:
    """Raise a DataError unless a number for each class can be added to the rectified logits."""
    if isinstance(rectifier, ConfidenceRectifier):
        raise DataError(
            f"shifts: a rectifier that one scale and a shift a class may follow expected, got "
            f"{rectifier.method}, whose confidence is another for every sample; take another method"
        )


def calibrated(rectifier: AnyRectifier) -> AnyRectifier:
    """The rectifier with its calibration in it, which stands for the prior of the calibration.

    Raises:
        DataError: it has none, or is none of scales and shifts.
    """
    check_shiftable(rectifier)
    known = rectifier.calibration
    if known is None:
        why = rectifier.metadata.get("uncalibrated")
        raise DataError(
            f"calibration: a rectifier with one expected, got one of {rectifier.method} without"
            f"{f' ({why})' if why else ''}; fit again with a tune split of rows that the network "
            "has not seen; in Python give such rows to calibrate"
        )
    return replace(
        rectifier,
        scale=known.scale * rectifier.scale,
        shift=known.scale * rectifier.shift + known.shift,
        log_prior=known.log_prior,
        calibration=None,
        metadata={**rectifier.metadata, "calibrated_on": known.split},
    )
