"""Slow, obvious versions in NumPy and float64, and an independent solver, to judge ours by."""

import numpy as np
import numpy.typing as npt
import torch
from problems import rows_of
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch.nn.functional import cross_entropy

Floats = npt.NDArray[np.float64]


def reference_class_weights(class_counts, gamma):
    """Equation 12, written as it is printed, over the classes that have images."""
    powers = np.array([float(n) ** -gamma if n > 0 else 0.0 for n in class_counts])
    return np.count_nonzero(class_counts) * powers / powers.sum()


def reference_objective(
    logits, labels, class_weights, weight_norm, omega, beta, *, l2, center, reduction
):
    """Equation 11 with its ridge: (value, gradient in omega, gradient in beta)."""
    rows = np.arange(len(labels))
    rectified = omega * logits + beta * weight_norm
    log_probability = log_softmax(rectified, axis=1)
    row_weights = class_weights[labels]
    divisor = len(labels) if reduction == "plain" else row_weights.sum()
    residual = np.exp(log_probability)
    residual[rows, labels] -= 1.0
    residual *= row_weights[:, None] / divisor
    omega0, beta0 = center
    free = weight_norm > 0
    omega_offset, beta_offset = omega - omega0, np.where(free, beta - beta0, 0.0)
    value = -(row_weights * log_probability[rows, labels]).sum() / divisor
    value += 0.5 * l2 * ((omega_offset**2).sum() + (beta_offset**2).sum())
    omega_gradient = (residual * logits).sum(0) + l2 * omega_offset
    beta_gradient = weight_norm * residual.sum(0) + l2 * beta_offset
    return value, omega_gradient, np.where(free, beta_gradient, 0.0)


def reference_optimum(logits, labels, class_weights, weight_norm, *, l2, center, reduction):
    """omega and beta by SciPy's L-BFGS-B on `reference_objective`, polished to 1e-9."""
    num_classes = logits.shape[1]

    def objective(theta):
        value, omega_gradient, beta_gradient = reference_objective(
            logits,
            labels,
            class_weights,
            weight_norm,
            theta[:num_classes],
            theta[num_classes:],
            l2=l2,
            center=center,
            reduction=reduction,
        )
        return value, np.concatenate([omega_gradient, beta_gradient])

    start = np.concatenate([np.ones(num_classes), np.zeros(num_classes)])
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-9, "maxcor": 30},
    )
    return found.x[:num_classes], found.x[num_classes:], found.fun


def central_difference(function, point, step=1e-5):
    """Gradient of `function` at `point` (P,) by central differences."""
    gradient = np.empty_like(point)
    for index in range(len(point)):
        offset = np.zeros_like(point)
        offset[index] = step
        gradient[index] = (function(point + offset) - function(point - offset)) / (2 * step)
    return gradient


def released_logits(theta, logits, features):
    """(1 + q a) x + q b with a = scale - 1: the form of DisAlign's released code."""
    num_classes, num_features = logits.shape[-1], features.shape[-1]
    a, b = theta[:num_classes] - 1, theta[num_classes : 2 * num_classes]
    q = torch.sigmoid(features @ theta[2 * num_classes :][:num_features] + theta[-1])[..., None]
    return (1 + q * a) * logits + q * b


def released_loss(theta, inputs, weights, reduction):
    """Its weighted cross-entropy over the rows (V N), as torch reduces it."""
    logits, labels = rows_of(inputs)
    mixed = released_logits(theta, logits.double(), inputs.features.flatten(0, 1).double())
    if reduction == "weighted":
        return cross_entropy(mixed, labels, weight=weights)
    losses = cross_entropy(mixed, labels, reduction="none")
    return (weights[labels] * losses).mean()
