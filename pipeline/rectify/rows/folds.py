"""Folds that classes with one to five samples survive.

N samples, F folds. Samples are dealt, not rows: all views of a sample lie in one fold, since they
show the same image. Each class is dealt on its own, so that

- a class with F samples or more has some in every fold, evenly to within one;
- a class with 2..F-1 samples has each of them in another fold, so that it is held out as often as
  it has samples and is in every training part;
- the only sample of a class is never held out: a fit that has not seen a class cannot be asked
  for it.
"""

import torch
from torch import Tensor

from marr_pipeline.rectify.rows.thinning import class_positions

NEVER_HELD_OUT = -1


def stratified_folds(labels: Tensor, *, num_folds: int, seed: int) -> Tensor:
    """The fold that holds each sample out.

    Args:
        labels: (N,) int64 classes.
        num_folds: at most so many; there are no more than the largest class has samples, so
            that none is empty.
        seed: of the deal.

    Returns:
        (N,) int64 in 0..F-1, or `NEVER_HELD_OUT` for the only sample of its class.
    """
    generator = torch.Generator().manual_seed(seed)
    class_sizes = torch.bincount(labels)
    num_folds = min(num_folds, int(class_sizes.max()))
    shuffled = torch.randperm(len(labels), generator=generator)
    dealt = labels[shuffled]
    # A class is dealt to the folds in an order of its own: else the first folds would get every
    # class with two samples and the last ones none.
    deal = torch.rand((len(class_sizes), num_folds), generator=generator).argsort(1)
    folds = torch.empty_like(labels)
    folds[shuffled] = deal[dealt, class_positions(dealt) % num_folds]
    folds[class_sizes[labels] == 1] = NEVER_HELD_OUT
    return folds
