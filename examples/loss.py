"""A training loss of your own under the same recipe, resuming and cache as ours.

pipeline extract --dataset cifar10-lt --plugin examples/loss.py --method balanced-poly -o c10.h5
"""

from torch.nn.functional import cross_entropy

from marr_pipeline.losses import LossTerms


def balanced_poly(logits, labels, *, class_counts, epsilon=1.0):
    """CE + epsilon (1 - P_y) (Leng et al. 2022) of logits + log n, mean over the batch."""
    losses = cross_entropy(logits + class_counts.clamp(min=0.5).log(), labels, reduction="none")
    return (losses + epsilon * (1 - (-losses).exp())).mean()


def square_root_softmax(logits, labels):
    """Plain, on classes that are drawn by the square root of their counts; see LossTerms."""
    return cross_entropy(logits, labels)


LOSSES = {
    "balanced-poly": balanced_poly,
    "square-root": LossTerms(
        loss=square_root_softmax,
        sampler="square-root",
        prior=lambda class_counts, options: class_counts.sqrt(),
    ),
}
