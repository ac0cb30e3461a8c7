"""Decoupled Balanced Softmax: a new head for CE(W z + b + log n, y) (Ren et al. 2020).

The prior is there in training alone: the head's own logits are those of balanced classes. A class
without images counts half an image (`weighting.log_prior`), since log 0 would forbid it: every row
pushes its logit down, and the ridge alone holds it back.

By default the minimum; `official` is the released code's SGD over samples as they come, from a
fresh head. Its schedule is stated for CIFAR and Places-LT alone (`schedule`).
"""

from marr_pipeline.rectify.head.fit import fit_head
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.method import FitResult, Method
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.weighting import log_prior


def _fit(inputs: FitInputs, settings: RectifySettings, context: FitContext) -> FitResult:
    return fit_head(inputs, settings, context, offset=log_prior(inputs.class_counts))


BALANCED_SOFTMAX_HEAD = Method(
    fit=_fit,
    needs=("features",),
    settings={
        "optimizer": "newton",
        "gamma": 0.0,
        "reduction": "plain",
        "center": "zero",
        "l2": 5e-4,
    },
    presets={"default": {}, "official": {"optimizer": "sgd"}},
)
