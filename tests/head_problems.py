"""Random problems of methods that solve for a whole head: features, and the logits of a head."""

import torch

from marr_pipeline.rectify.inputs import FitInputs


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
