"""Every post-hoc method by name. One more is one file here, and its name in `names`."""

from collections.abc import Collection

from marr_pipeline.errors import ConfigError
from marr_pipeline.rectify.method import Method
from marr_pipeline.rectify.methods.affine import (
    BCTS,
    BIAS,
    LOGIT_ADJUSTMENT,
    LWS,
    MARR,
    SOFTMAX,
    TAU_NORM,
    TEMPERATURE,
    VECTOR_SCALING,
)
from marr_pipeline.rectify.methods.centroids import GDA, NCM
from marr_pipeline.rectify.methods.disalign import DISALIGN
from marr_pipeline.rectify.methods.heads import BALANCED_SOFTMAX_HEAD, CRT, HEAD
from marr_pipeline.rectify.methods.tde import TDE

METHODS: dict[str, Method] = {
    "softmax": SOFTMAX,
    "temperature": TEMPERATURE,
    "logit-adjustment": LOGIT_ADJUSTMENT,
    "bias": BIAS,
    "bcts": BCTS,
    "vector-scaling": VECTOR_SCALING,
    "lws": LWS,
    "tau-norm": TAU_NORM,
    "marr": MARR,
    "crt": CRT,
    "balanced-softmax-head": BALANCED_SOFTMAX_HEAD,
    "head": HEAD,
    "ncm": NCM,
    "gda": GDA,
    "disalign": DISALIGN,
    "tde": TDE,
}

OWN_SETTINGS = tuple(dict.fromkeys(name for each in METHODS.values() for name in each.own_settings))
"""Settings that some methods heed and others refuse."""
FIT_SETTINGS = (
    "optimizer",
    "gamma",
    "l2",
    "center",
    "scale_l2",
    "reduction",
    "sampling",
    "tolerance",
)
"""Of an objective and its minimum, which a method in closed form has none of."""


def check_heeded(method: str, given: Collection[str]) -> None:
    """Refuse settings, by name, that a method would pass over in silence.

    Raises:
        ConfigError: a setting of another method, or of a fit where there is nothing to fit.
    """
    chosen = METHODS[method]
    for name in given:
        if name in OWN_SETTINGS and name not in chosen.own_settings:
            owners = [key for key, value in METHODS.items() if name in value.own_settings]
            expected = f"--method {' or '.join(owners)} expected, got {method}"
        elif name in FIT_SETTINGS and not chosen.is_fitted:
            expected = f"a method that is fitted expected, got {method}, which follows a rule"
        else:
            continue
        raise ConfigError(
            f"--{name.replace('_', '-')}: {expected}; leave it out or choose another method"
        )
