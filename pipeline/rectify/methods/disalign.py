"""DisAlign (Zhang et al. 2021): new logits mixed with the old by a confidence of each sample.

q (s * logits + b) + (1 - q) logits, with q = sigmoid(v . features + c): 2K + D + 1 numbers on the
same class-weighted loss as MARR's, with the exponent 1.2 that its paper calls rho. It contains MARR
(v = 0) and, unlike MARR, is neither convex nor can it be folded into a linear head.

What is left undetermined: without a ridge, adding one number to every b changes no probability
(reported with sum b = 0); where q is the same for all samples, only q (s - 1) and q b matter.

`default` solves the released code's objective, weighted mean and weight decay toward s = 1, b = 0,
v = 0, c = 0, from the paper's start. `paper` is the objective as its text has it, plain mean and
weight decay on s itself, which pulls the new logits to 0. `official` is the released code: its
start, its schedule, its weighted mean within each batch.
"""

from marr_pipeline.rectify.confidence.fit import fit_confidence
from marr_pipeline.rectify.method import Method

DISALIGN = Method(
    fit=fit_confidence,
    needs=("features",),
    own_settings=("form",),
    settings={"center": "identity", "l2": 5e-4, "reduction": "weighted"},
    presets={
        "default": {},
        "paper": {"center": "zero", "reduction": "plain"},
        "official": {"form": "cvpods"},
    },
)
