"""Twenty problems of every awkward kind, against an independent solver in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import make_inputs, without_class
from reference import reference_class_weights, reference_objective, reference_optimum

from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify.fit import fit_rectifier
from marr_pipeline.rectify.settings import RectifySettings

CENTERS = ("zero", "identity", "logit-adjustment")
REDUCTIONS = ("plain", "weighted")
SIZES = (2, 3, 5, 10, 30, 100, 300)


def with_dead_rows(inputs):
    is_dead = torch.arange(inputs.num_classes) % 4 == 1
    return replace(inputs, weight_norm=torch.where(is_dead, 0.0, inputs.weight_norm))


def with_duplicate_class(inputs):
    logits = inputs.logits.clone()
    logits[:, :, 1] = logits[:, :, 0]
    return replace(inputs, logits=logits)


KINDS = {
    "plain": lambda inputs: inputs,
    "absent class": lambda inputs: without_class(inputs, inputs.num_classes // 2),
    "zero norms": with_dead_rows,
    "duplicate class": with_duplicate_class,
    "huge logits": lambda inputs: replace(inputs, logits=300 * inputs.logits),
    "tiny logits": lambda inputs: replace(inputs, logits=1e-4 * inputs.logits),
    "single images": lambda inputs: inputs,
}


@pytest.mark.parametrize("optimizer", ["lbfgs", "newton"])
@pytest.mark.parametrize("number", range(20))
def test_same_optimum_as_an_independent_solver(number, optimizer):
    num_classes = SIZES[number % len(SIZES)]
    kind = list(KINDS)[(number + number // len(SIZES)) % len(KINDS)] if num_classes > 2 else "plain"
    inputs = KINDS[kind](
        make_inputs(
            num_classes=num_classes,
            num_samples=2 * num_classes if kind == "single images" else 6 * num_classes + 100,
            num_views=1 + number % 2,
            seed=number,
            ratio=100.0,
        )
    )
    center, reduction = CENTERS[number % 3], REDUCTIONS[number % 2]
    l2 = (1e-3, 1e-2, 0.3)[number % 3]
    settings = RectifySettings(
        optimizer=optimizer, gamma=1.2, l2=l2, center=center, reduction=reduction, tolerance=1e-9
    )
    fit = fit_rectifier(inputs, settings)
    assert fit.status is FitStatus.CONVERGED, kind

    norm = inputs.weight_norm.numpy()
    log_prior = inputs.log_prior.numpy()
    shift = np.where(norm > 0, (log_prior.mean() - log_prior) / np.where(norm > 0, norm, 1.0), 0.0)
    logits, labels = inputs.logits.flatten(0, 1).double().numpy(), inputs.labels.numpy()
    problem = {
        "logits": logits,
        "labels": np.tile(labels, inputs.num_views),
        "class_weights": reference_class_weights(inputs.class_counts.tolist(), 1.2),
        "weight_norm": norm,
        "l2": l2,
        "center": {"zero": (0.0, 0.0), "identity": (1.0, 0.0), "logit-adjustment": (1.0, shift)}[
            center
        ],
        "reduction": reduction,
    }
    *_, optimum = reference_optimum(**problem)
    omega, beta = (fit.rectifier.own[name].numpy() for name in ("omega", "beta"))
    value, *_ = reference_objective(**problem, omega=omega, beta=beta)
    assert fit.loss == pytest.approx(value, rel=1e-10)
    # Ours is certified to 1e-9; SciPy stops where its own line search sees no descent.
    assert fit.loss <= optimum + fit.gap_bound + 1e-12 * max(1.0, abs(optimum))
    assert fit.loss >= optimum - 1e-4 * max(1.0, abs(optimum))
