"""Margin rectification of long-tailed classifiers, in two phases.

Phase one (`data`, `backbone`) trains a network and writes what phase two needs into one cache
file; phase two (`rectify`, `report`) fits, compares and draws from that file alone.

The names of `__all__` are the Python face; each loads what it needs when it is first asked for.
(`rectify` is a package here, so its function is `rectify_cache`.)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from marr_pipeline.cache import open_cache as open_cache
    from marr_pipeline.estimator import MarginRectifier as MarginRectifier
    from marr_pipeline.losses import add_loss as add_loss
    from marr_pipeline.rectify.methods import add_method as add_method
    from marr_pipeline.rectify.prior.estimate import target_prior as target_prior
    from marr_pipeline.rectify.sets import SetSettings as SetSettings
    from marr_pipeline.rectify.settings import RectifySettings as RectifySettings
    from marr_pipeline.rectify.tuning import TuningOptions as TuningOptions
    from marr_pipeline.workflows.apply import apply as apply
    from marr_pipeline.workflows.combine import combine as combine
    from marr_pipeline.workflows.compare import compare as compare
    from marr_pipeline.workflows.evaluate import evaluate as evaluate
    from marr_pipeline.workflows.export import export as export
    from marr_pipeline.workflows.extract import extract as extract
    from marr_pipeline.workflows.import_logits import import_logits as import_logits
    from marr_pipeline.workflows.rectify import rectify_cache as rectify_cache
    from marr_pipeline.workflows.report import write_report as write_report
    from marr_pipeline.workflows.request import PhaseOneRequest as PhaseOneRequest
    from marr_pipeline.workflows.sweep import sweep as sweep
    from marr_pipeline.workflows.train import train as train

_HOMES = {
    "MarginRectifier": "estimator",
    "PhaseOneRequest": "workflows.request",
    "RectifySettings": "rectify.settings",
    "SetSettings": "rectify.sets",
    "TuningOptions": "rectify.tuning",
    "add_loss": "losses",
    "add_method": "rectify.methods",
    "apply": "workflows.apply",
    "combine": "workflows.combine",
    "compare": "workflows.compare",
    "evaluate": "workflows.evaluate",
    "export": "workflows.export",
    "extract": "workflows.extract",
    "import_logits": "workflows.import_logits",
    "open_cache": "cache",
    "rectify_cache": "workflows.rectify",
    "sweep": "workflows.sweep",
    "target_prior": "rectify.prior.estimate",
    "train": "workflows.train",
    "write_report": "workflows.report",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
