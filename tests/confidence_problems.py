"""Random problems of DisAlign, and its loss as the released code writes it."""

from dataclasses import replace

import torch
from problems import make_inputs
from torch.nn.functional import cross_entropy


def make_featured_inputs(*, num_features=4, seed=0, dtype=torch.float32, **options):
    """Rows whose features tell where the logits are wrong: the first is larger in the tail."""
    inputs = make_inputs(seed=seed, **options)
    generator = torch.Generator().manual_seed(seed + 100)
    shape = (inputs.num_views, len(inputs.labels), num_features)
    features = torch.randn(shape, generator=generator)
    features[..., 0] += inputs.labels / inputs.num_classes
    return replace(inputs, features=features.to(dtype))


def make_theta(inputs, seed=5):
    """A random theta (P,) with confidences between 0.1 and 0.9."""
    generator = torch.Generator().manual_seed(seed)
    num_classes, num_features = inputs.num_classes, inputs.features.shape[-1]
    scale = 0.5 + torch.rand(num_classes, generator=generator, dtype=torch.float64)
    rest = torch.randn(num_classes + num_features + 1, generator=generator, dtype=torch.float64)
    return torch.cat([scale, rest])


def released_logits(theta, logits, features):
    """(1 + q a) x + q b with a = scale - 1: the released code's form."""
    num_classes, num_features = logits.shape[-1], features.shape[-1]
    a, b = theta[:num_classes] - 1, theta[num_classes : 2 * num_classes]
    q = torch.sigmoid(features @ theta[2 * num_classes :][:num_features] + theta[-1])[..., None]
    return (1 + q * a) * logits + q * b


def released_loss(theta, inputs, weights, reduction, rows=None):
    """Its weighted cross-entropy over some rows of (V N), as torch reduces it."""
    rows = slice(None) if rows is None else rows
    logits, labels = inputs.rows()
    features = inputs.features.flatten(0, 1).double()[rows]
    mixed = released_logits(theta, logits.double()[rows], features)
    if reduction == "weighted":
        return cross_entropy(mixed, labels[rows], weight=weights)
    losses = cross_entropy(mixed, labels[rows], reduction="none")
    return (weights[labels[rows]] * losses).mean()
