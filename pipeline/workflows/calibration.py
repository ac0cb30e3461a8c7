"""Which rows of a cache a rectifier is calibrated on, for places whose class prior is unknown.

The split `tune` where there is one; else the rows that were fitted, in their clean view, unless the
network was trained on them and knows most by heart. Seven networks with 42 to 72 % of these right,
each class counting alike, were calibrated nearly as well as on a tune split (CIFAR-10-LT); one with
83 % was no better than not calibrated, and two with 87 and 90 % far worse (docs/priors.md).

A whole head has fitted the rows itself and is calibrated on folds that it has not seen: three more
fits, which a strength tuned on folds has paid for and a closed form gives away.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from marr_pipeline.cache import Cache
from marr_pipeline.errors import DataError, FitError
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.prior.calibration import calibration_rows, fit_calibration, shares_right
from marr_pipeline.rectify.rectifier import (
    Calibration,
    ConfidenceRectifier,
    FunctionRectifier,
    HeadRectifier,
    Rectifier,
)
from marr_pipeline.rectify.rows.folds import stratified_folds
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.strengths import MEMORISED_FROM
from marr_pipeline.workflows.alike import tune_is_test
from marr_pipeline.workflows.tuning import scored_inputs

NUM_FOLDS = 3
BLOCK_LOGITS = 2**22
"""Rectified at a time: 32 MiB in float64."""


def with_calibration(
    cached: Cache, fit: FitResult, inputs: FitInputs, settings: RectifySettings, *, is_tuned: bool
) -> Rectifier:
    """The rectifier of a fit with its calibration, or with the reason why it has none.

    Args:
        cached: the cache that was fitted.
        fit: of it.
        inputs: the rows fitted.
        settings: of the fit.
        is_tuned: whether folds have chosen its strength.
    """
    try:
        found = _calibration(cached, fit, inputs, settings, is_tuned=is_tuned)
    except (DataError, FitError) as error:
        found = f"it failed: {error}"
    rectifier = fit.rectifier
    if isinstance(found, Calibration):
        return replace(rectifier, calibration=found)
    return replace(rectifier, metadata={**rectifier.metadata, "uncalibrated": found})


def _calibration(
    cached: Cache, fit: FitResult, inputs: FitInputs, settings: RectifySettings, *, is_tuned: bool
) -> Calibration | str:
    rectifier, split = fit.rectifier, settings.fit_split
    assert split is not None
    if isinstance(rectifier, ConfidenceRectifier):
        return "its confidence is another for every sample, which no scale and shifts follow"
    if "tune" in cached.splits and not tune_is_test(cached):
        split = "tune"
    scored = scored_inputs(cached, split, torch.device("cpu"))[0].first_views(1)
    rows = calibration_rows(scored.labels, scored.num_classes)
    counts = torch.bincount(scored.labels, minlength=scored.num_classes)
    is_seen = split != "tune" and scored.rows == "seen" and scored.logits is not None
    if is_seen:
        source, labels = scored.source()
        predicted = torch.cat([source.take(part).argmax(1) for part in _blocks(rows, scored)])
        _, balanced = shares_right(labels[rows], predicted, counts)
        if balanced > MEMORISED_FROM:
            return (
                f"the network has {100 * balanced:.0f} % of the rows that it was trained on right, "
                "each class counting alike, so it is surer of them than of new ones, and there is "
                "no tune split"
            )
    is_free = isinstance(rectifier, HeadRectifier | FunctionRectifier)
    is_free_on_rows = is_free and split == settings.fit_split
    if not is_free_on_rows:
        logits = _rectified(rectifier, scored, rows)
    elif is_tuned or not METHODS[settings.method].is_fitted:
        chosen: dict[str, Any] = {**fit.chosen}
        logits, rows = _out_of_fold(inputs, scored, rows, replace(settings, **chosen))
    else:
        return (
            f"a whole head has seen the rows of split {split}, and no folds were held out to "
            "choose its strength"
        )
    return fit_calibration(
        logits, scored.labels[rows], rectifier.log_prior, split=split, is_seen=is_seen
    )


def _rectified(rectifier: Rectifier, inputs: FitInputs, rows: Tensor) -> Tensor:
    """Rectified logits (M, K) float32 of some rows (M,) int64 of one view."""
    source = None if inputs.logits is None else inputs.source()[0]
    features = None if inputs.features is None else inputs.features[0]
    blocks = [
        rectifier.apply(
            None if source is None else source.take(part),
            None if features is None else features[part],
        ).float()
        for part in _blocks(rows, inputs)
    ]
    return torch.cat(blocks)


def _blocks(rows: Tensor, inputs: FitInputs) -> tuple[Tensor, ...]:
    return torch.split(rows, max(1, BLOCK_LOGITS // inputs.num_classes))


def _out_of_fold(
    inputs: FitInputs, scored: FitInputs, rows: Tensor, settings: RectifySettings
) -> tuple[Tensor, Tensor]:
    """Logits (M, K) float32 of rows by heads that have not seen them, and the rows (M,)."""
    folds = stratified_folds(inputs.labels, num_folds=NUM_FOLDS, seed=settings.seed)
    found, numbers = [], []
    for fold in range(int(folds.max()) + 1):
        held_out = rows[folds[rows] == fold]
        if len(held_out):
            part = inputs.of_samples((folds != fold).nonzero()[:, 0])
            head = METHODS[settings.method].fit(part, settings, FitContext()).rectifier
            found.append(_rectified(head, scored, held_out))
            numbers.append(held_out)
    if not found:
        raise DataError("folds: a class with two samples expected, got one a class")
    return torch.cat(found), torch.cat(numbers)
