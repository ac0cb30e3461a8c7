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


def samples_of(inputs, samples):
    """All views of some samples (B,) of inputs with stored logits."""
    features = None if inputs.features is None else inputs.features[:, samples]
    return replace(
        inputs,
        logits=inputs.logits[:, samples],
        labels=inputs.labels[samples],
        features=features,
    )
