"""Every post-hoc method by name. One more is one file here, and its name in `names`; one of a
user's own is a function that `add_method` is given, or that an installed package has.
"""

from collections.abc import Collection
from importlib.metadata import EntryPoint

from marr_pipeline import names
from marr_pipeline.errors import ConfigError
from marr_pipeline.plugins import Function, call, check_plugin, installed_methods
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
from marr_pipeline.rectify.methods.own import own_method
from marr_pipeline.rectify.methods.tde import TDE
from marr_pipeline.rectify.settings import OWN_METHODS


class Methods(dict[str, Method]):
    """By name; one that is not here yet is looked for among the installed packages."""

    def __missing__(self, name: str) -> Method:
        point = installed_methods().get(name)
        if point is None:
            raise ConfigError(f"method: one of {', '.join(self)} expected, got {name}")
        _add_installed(point)
        return self[name]


METHODS = Methods(
    {
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
)

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


def add_method(name: str, fit: Function) -> None:
    """Add a method of a user's own, in this process; one added before under that name is replaced.

    Args:
        name: that `rectify`, `compare` and the estimator then know it by.
        fit: see `rectify.methods.own`.

    Raises:
        ConfigError: a name of ours, no function, or one that takes what nobody has.
    """
    check_plugin(name, fit, taken=names.METHODS, what="method")
    METHODS[name] = own_method(name, fit)
    OWN_METHODS.add(name)


def add_installed() -> None:
    """Add the methods of all installed packages.

    Raises:
        ConfigError: as `add_method`.
        PluginError: a package cannot be imported.
    """
    for point in installed_methods().values():
        _add_installed(point)


def _add_installed(point: EntryPoint) -> None:
    add_method(point.name, call(point.load, what=f"method {point.name} ({point.value})"))


def heeds(method: str, name: str) -> bool:
    """Whether a setting means something to a method, as other names always do."""
    chosen = METHODS[method]
    is_foreign = name in OWN_SETTINGS and name not in chosen.own_settings
    return not is_foreign and (chosen.is_fitted or name not in FIT_SETTINGS)


def check_heeded(method: str, given: Collection[str]) -> None:
    """Refuse settings, by name, that a method would pass over in silence.

    Raises:
        ConfigError: a setting of another method, or of a fit where there is nothing to fit.
    """
    chosen = METHODS[method]
    for name in given:
        if heeds(method, name):
            continue
        owners = [key for key, value in METHODS.items() if name in value.own_settings]
        expected = f"a method that is fitted expected, got {method}, which follows a rule"
        if owners and name not in chosen.own_settings:
            expected = f"--method {' or '.join(owners)} expected, got {method}"
        raise ConfigError(
            f"--{name.replace('_', '-')}: {expected}; leave it out or choose another method"
        )
