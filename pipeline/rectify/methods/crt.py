"""cRT: a new head, fitted with every class counting alike (Kang et al. 2020).

By default the minimum of that objective; `official` follows the released code: class-balanced
sampling, four images a class draw, and SGD from a fresh head (`schedule`).
Its CIFAR schedule, of which Kang et al. have none, is that of the decoupled Balanced Softmax.
"""

from marr_pipeline.rectify.head.fit import fit_head
from marr_pipeline.rectify.method import Method
from marr_pipeline.rectify.settings import CLASS_BALANCED, CLASS_BALANCED_SAMPLING

CRT = Method(
    fit=fit_head,
    needs=("features",),
    settings={**CLASS_BALANCED, "optimizer": "newton"},
    presets={"default": {}, "official": CLASS_BALANCED_SAMPLING},
)
