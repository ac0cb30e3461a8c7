"""Every post-hoc method by name. One more is one file here, and its name in `names`."""

from marr_pipeline.rectify.method import Method
from marr_pipeline.rectify.methods.affine import (
    LOGIT_ADJUSTMENT,
    LWS,
    MARR,
    SOFTMAX,
    TAU_NORM,
    TEMPERATURE,
    VECTOR_SCALING,
)
from marr_pipeline.rectify.methods.disalign import DISALIGN
from marr_pipeline.rectify.methods.heads import BALANCED_SOFTMAX_HEAD, CRT
from marr_pipeline.rectify.methods.tde import TDE

METHODS: dict[str, Method] = {
    "softmax": SOFTMAX,
    "temperature": TEMPERATURE,
    "logit-adjustment": LOGIT_ADJUSTMENT,
    "vector-scaling": VECTOR_SCALING,
    "lws": LWS,
    "tau-norm": TAU_NORM,
    "marr": MARR,
    "crt": CRT,
    "balanced-softmax-head": BALANCED_SOFTMAX_HEAD,
    "disalign": DISALIGN,
    "tde": TDE,
}

OWN_SETTINGS = tuple(dict.fromkeys(name for each in METHODS.values() for name in each.own_settings))
"""Settings that some methods heed and others refuse."""
