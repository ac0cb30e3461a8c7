"""How strongly a fit is pulled where nobody says it: by what its rows can be trusted with.

K classes, r_j rows fitted of class j, P of them above 0. Where every class counts alike, the rows
are worth

    n_eff = (sum_i U_{y_i})^2 / sum_i U_{y_i}^2 = P^2 / sum_j 1 / r_j,   U_j = 1 / r_j,

rows of a balanced sample: thousands of images with three of the rarest class are worth a few dozen.

Rows that phase one has not seen are evidence: the ridge is a prior that weighs as much as a few
rows, l2 = 3 / n_eff across the line of `ridge` and 1 / n_eff along it. A fit that nevertheless has
fewer of them right than logit adjustment, each class counting alike, is made anew on the line
alone: likelihood and ranking then want different things, or the rows are too few.

Rows that phase one has seen are none for the ranking of classes: l2 is at least 3, so that it stays
logit adjustment's, and more where n_eff is below 1,000. How sure the classifier may be they
overstate too. The scale s along the line is never above 1, since the ridge along it is at least
-dL/ds at logit adjustment, and below 1 the more of the rows are memorised, a number m from 0 to 1:
their own label is on top in 75 % of the rows or less, each class counting alike, to 95 % or more.
Memorised logits are too large as a whole, with the prior that is in them, so what is taken out of
them tempered is more of the prior:

    rectified = s * logits - (s + m (1 - s)) log prior.

Where logit adjustment makes a tenth of the seen rows wrong that were right without it, the prior is
not what is in the logits, and the ridge is weak there too.

These are strengths beside the weighted mean. The plain one is that times the rows' mean weight, an
eighth on CIFAR-10-LT at ratio 100 with gamma 1.2, and so are they beside it: one minimum for both.

All of it was chosen on caches of one half of a study and holds on the other: `benchmarks/strengths`
and docs/phase-two.md.
"""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.settings import RectifySettings

HELD_OUT_ROWS = 3.0
"""What the ridge weighs on rows that phase one has not seen, in rows of a balanced sample."""
LINE_L2 = 1e4
"""Of a fit on the line alone: logit adjustment's ranking, at the best temperature."""
SEEN_L2 = 3.0
"""Of rows that it has seen, at least."""
SEEN_ROWS = 3000.0
"""What the ridge weighs there where this is more."""
MEMORISED_PULL = 0.2
"""Ridge on the scale where all rows are memorised, in log K, the loss of knowing nothing."""
MEMORISED_FROM, MEMORISED_ALL = 0.75, 0.95
"""Shares of rows with their own label on top between which they count as ever more memorised."""
CONTRADICTED, CONTRADICTED_ROWS = 0.1, 30.0
"""Share of the rows that logit adjustment may lose before the prior said is wrong for them; then
the ridge weighs no more than these rows."""
THINNED_LOGITS = 2**24
"""Logits that are looked at, in about so many: K^2 times the rows of each class."""
LEAST_ROWS_PER_CLASS = 8


def with_strengths(
    inputs: FitInputs, settings: RectifySettings, resources: Resources = UNLIMITED
) -> RectifySettings:
    """The settings with `l2`, `scale_l2` and `memorised` found where they were left open.

    Args:
        inputs: the rows to be fitted.
        settings: whatever of them is a number stays.
        resources: bound on memory.
    """
    is_line = settings.center == "tempered"
    names = ("l2", "scale_l2", "memorised") if is_line else ("l2",)
    if all(getattr(settings, name) is not None for name in names):
        return settings
    rows = settings.rows or inputs.rows
    num_rows = effective_rows(inputs)
    found: dict[str, float] = {"l2": max(SEEN_L2, SEEN_ROWS / num_rows)}
    if rows == "held-out":
        found = {"l2": HELD_OUT_ROWS / num_rows, "memorised": 0.0, "scale_l2": 0.0}
    elif is_line:
        found |= _of_seen_rows(inputs, settings, num_rows, resources)
    if is_line:
        along = max(found["scale_l2"], 1.0 / num_rows)
        found["scale_l2"] = along / math.log(max(inputs.num_classes, 2))
    unit = _weight_of_a_row(inputs, settings)
    missing: dict[str, Any] = {
        name: found[name] * (1.0 if name == "memorised" else unit)
        for name in names
        if getattr(settings, name) is None
    }
    return replace(settings, rows=rows, **missing)


def _weight_of_a_row(inputs: FitInputs, settings: RectifySettings) -> float:
    """What the data term is in units of the weighted mean: the rows' mean weight if it is plain."""
    weights, reduction = inputs.loss_weights(settings, settings.sampling)
    if reduction == "weighted":
        return 1.0
    counts = inputs.fitted_counts.double()
    return float(weights @ counts / counts.sum())


def effective_rows(inputs: FitInputs) -> float:
    """n_eff of the module's docstring; views of a sample are no rows of their own."""
    counts = inputs.fitted_counts.double()
    present = counts[counts > 0]
    return float(len(present) ** 2 / (1 / present).sum())


def ranks_worse(inputs: FitInputs, rectifier: Rectifier, resources: Resources = UNLIMITED) -> bool:
    """Whether fewer of the rows are right than by logit adjustment, each class counting alike."""
    loss = _few_rows(inputs, resources)
    adjusted = loss.share_on_top(torch.ones(inputs.num_classes), -inputs.log_prior)
    return loss.share_on_top(rectifier.scale, rectifier.shift) < adjusted


def _few_rows(inputs: FitInputs, resources: Resources) -> WeightedCrossEntropy:
    """Rows of the first view, as many as tell enough, with classes that count alike."""
    first, num_classes = inputs.first_views(1), inputs.num_classes
    weights, _ = first.loss_weights(RectifySettings(gamma=1.0), "instance")
    every = WeightedCrossEntropy(
        *first.source(), weights, reduction="weighted", resources=Resources(memory=resources.memory)
    )
    return every.thin(max(LEAST_ROWS_PER_CLASS, THINNED_LOGITS // num_classes**2))


def _of_seen_rows(
    inputs: FitInputs, settings: RectifySettings, num_rows: float, resources: Resources
) -> dict[str, float]:
    """`memorised`, the ridge along the line as `scale_l2`, and `l2` where the prior is wrong."""
    loss, num_classes = _few_rows(inputs, resources), inputs.num_classes
    one, zero = torch.ones(num_classes), torch.zeros(num_classes)
    prior: Tensor = inputs.log_prior
    as_is, adjusted = loss.share_on_top(one, zero), loss.share_on_top(one, -prior)
    if adjusted < as_is - CONTRADICTED:
        return {"l2": CONTRADICTED_ROWS / num_rows, "memorised": 0.0, "scale_l2": 0.0}
    memorised = settings.memorised
    if memorised is None:
        memorised = (as_is - MEMORISED_FROM) / (MEMORISED_ALL - MEMORISED_FROM)
        memorised = min(1.0, max(0.0, memorised))
    by_scale, by_shift = loss.evaluate(one, -prior, precise=False).gradient
    slope = float(by_scale.sum() - (1 - memorised) * (prior @ by_shift))
    pull = MEMORISED_PULL * memorised * math.log(max(num_classes, 2))
    return {"memorised": memorised, "scale_l2": max(pull, -slope)}
