"""Random problems of phase two."""

from dataclasses import replace

import torch

from marr_pipeline.rectify.inputs import FitInputs


def make_inputs(
    *, num_classes=7, num_samples=300, num_views=2, seed=0, spread=2.0, ratio=30.0, dtype=None
):
    """Long-tailed rows whose logits carry the label and the prior, with overlap."""
    generator = torch.Generator().manual_seed(seed)
    profile = ratio ** -(torch.arange(num_classes) / max(num_classes - 1, 1))
    counts = (num_samples * profile / profile.sum()).long().clamp(min=1)
    labels = torch.repeat_interleave(torch.arange(num_classes), counts)
    shape = (num_views, len(labels), num_classes)
    logits = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
    logits += counts.log()
    logits[:, torch.arange(len(labels)), labels] += 2.0
    weight_norm = 0.5 + torch.rand(num_classes, generator=generator, dtype=torch.float64)
    return FitInputs(
        logits=logits.to(dtype or torch.float32),
        labels=labels,
        weight_norm=weight_norm,
        class_counts=counts,
        prior_counts=counts,
    )


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


def make_head_inputs(
    *, num_classes=5, num_features=4, num_samples=200, num_views=2, seed=0, dtype=torch.float32
):
    """Long-tailed rows of overlapping classes, which no head separates."""
    generator = torch.Generator().manual_seed(seed)
    profile = 20.0 ** -(torch.arange(num_classes) / max(num_classes - 1, 1))
    counts = (num_samples * profile / profile.sum()).long().clamp(min=4)
    labels = torch.repeat_interleave(torch.arange(num_classes), counts)
    centres = torch.randn(num_classes, num_features, generator=generator)
    noise = torch.randn(num_views, len(labels), num_features, generator=generator)
    features = (0.7 * centres[labels] + noise).to(dtype)
    weight = centres + 0.3 * torch.randn(centres.shape, generator=generator)
    bias = 0.3 * counts.log()
    return FitInputs(
        logits=features.float() @ weight.T + bias,
        labels=labels,
        weight_norm=weight.norm(dim=1).double(),
        class_counts=counts,
        prior_counts=counts,
        bias=bias,
        weight=weight,
        features=features,
    )


def make_point(num_classes, seed=5):
    """A random scale (K,) and shift (K,)."""
    generator = torch.Generator().manual_seed(seed)
    scale = 0.5 + torch.rand(num_classes, generator=generator, dtype=torch.float64)
    return scale, torch.randn(num_classes, generator=generator, dtype=torch.float64)


def rows_of(inputs):
    """Stored logits (V N, K) and labels (V N,)."""
    return inputs.logits.flatten(0, 1), inputs.labels.repeat(inputs.num_views)


def samples_of(inputs, samples):
    """All views of some samples, (B,) int64 or (N,) bool, of inputs with stored logits."""
    features = None if inputs.features is None else inputs.features[:, samples]
    return replace(
        inputs,
        logits=inputs.logits[:, samples],
        labels=inputs.labels[samples],
        features=features,
    )


def without_class(inputs, label):
    """The same inputs of a training list that has no image of a class."""
    is_absent = torch.arange(inputs.num_classes) == label
    return replace(
        samples_of(inputs, inputs.labels != label),
        class_counts=torch.where(is_absent, 0, inputs.class_counts),
        prior_counts=torch.where(is_absent, 0, inputs.prior_counts),
    )
