"""Training losses and samplers for imbalanced classes, by the name of their method.

A new one is a pure function in a file of its own, an entry of `LOSSES` and its name in `names`; a
user's own comes by `add_loss`.
What has a network of its own, or looks at several batches a step, is in `systems`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from marr_pipeline import names
from marr_pipeline.losses.balanced_softmax import balanced_softmax
from marr_pipeline.losses.equalization import equalization
from marr_pipeline.losses.focal import focal
from marr_pipeline.losses.lade import lade
from marr_pipeline.losses.ldam import ldam, ldam_drw
from marr_pipeline.losses.own import code_of, own_loss
from marr_pipeline.losses.plain import Loss, softmax
from marr_pipeline.losses.reweighting import (
    class_balanced,
    class_balanced_weighting,
    effective_number_weights,
)
from marr_pipeline.losses.seesaw import seesaw
from marr_pipeline.plugins import Function, check_plugin

Options = Mapping[str, bool | float | str]
Prior = Callable[[Tensor, Options], Tensor | None]
"""From class counts (K,) and a method's options to counts that stand for the prior of its network's
probabilities; None where they stand for none."""


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """What a method trains with.

    Attributes:
        loss: of a batch; its keyword arguments beyond those of `Loss` are the method's options,
            and one called `scale`, unless it is 0, asks for logits of that many times a cosine.
        sampler: `instance`, or a key of `samplers.SHARES`.
        prior: that the logits stand for at the minimum of the loss.
        counts_seen: whether the loss takes the images seen so far for its class counts.
        code: digest of the file of a user's own loss.
    """

    loss: Loss
    sampler: str = "instance"
    prior: Prior = lambda counts, options: None
    counts_seen: bool = False
    code: str = ""


def _uniform(counts: Tensor, options: Options) -> Tensor:
    return torch.ones_like(counts)


def _class_balanced(counts: Tensor, options: Options) -> Tensor | None:
    if options["form"] != "softmax":
        return None
    return counts * effective_number_weights(counts, float(options["beta"]))


LOSSES: dict[str, LossTerms] = {
    "softmax": LossTerms(loss=softmax, prior=lambda counts, _: counts),
    "cbs": LossTerms(loss=softmax, sampler="balanced", prior=_uniform),
    "sqrt": LossTerms(loss=softmax, sampler="square-root", prior=lambda counts, _: counts.sqrt()),
    "cbw": LossTerms(loss=class_balanced_weighting, prior=_uniform),
    "class-balanced": LossTerms(loss=class_balanced, prior=_class_balanced),
    "focal": LossTerms(loss=focal),
    "ldam": LossTerms(loss=ldam),
    "ldam-drw": LossTerms(loss=ldam_drw),
    "equalization": LossTerms(loss=equalization),
    "balanced-softmax": LossTerms(
        loss=balanced_softmax, prior=lambda counts, options: counts ** (1 - float(options["tau"]))
    ),
    "lade": LossTerms(loss=lade, prior=_uniform),
    "seesaw": LossTerms(loss=seesaw, counts_seen=True),
}
"""By the names of `names.TRAINING_METHODS`."""


def add_loss(name: str, loss: Function | LossTerms) -> None:
    """Add a training loss of a user's own, in this process.

    One added before under that name is replaced.

    Args:
        name: that `train` and `extract` then know it by.
        loss: see `losses.own`; or terms with it, a sampler and the prior that its logits stand for.

    Raises:
        ConfigError: a name of ours, or no function.
    """
    terms = loss if isinstance(loss, LossTerms) else LossTerms(loss=loss)
    check_plugin(name, terms.loss, taken=names.TRAINING_METHODS, what="loss")
    LOSSES[name] = replace(terms, loss=own_loss(name, terms.loss), code=code_of(terms.loss))
