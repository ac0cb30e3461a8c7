"""Margin rectification of long-tailed classifiers, in two phases.

Phase one (`data`, `backbone`) trains a network and writes what phase two needs into one cache
file; phase two (`rectify`, `report`) fits, compares and draws from that file alone.

The names of `__all__` are the Python face; each loads what it needs when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from marr_pipeline.cache import open_cache as open_cache
    from marr_pipeline.estimator import MarginRectifier as MarginRectifier

_HOMES = {
    "MarginRectifier": "marr_pipeline.estimator",
    "open_cache": "marr_pipeline.cache",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
