"""One method on one cache, by its key: what `compare` fits, and what a cache cannot carry."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from marr_pipeline import __version__
from marr_pipeline.cache import Cache, CacheError
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.fit import Fit, fit_rectifier
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.presets import parse_method_key, preset_settings
from marr_pipeline.workflows.cached import dataset_name, fit_inputs


def missing_needs(cached: Cache, method: str, *, split: str = "train") -> list[str]:
    """What a method needs and a cache lacks, in words; empty if it can be fitted."""
    has = {
        "features": cached.split(split).features is not None,
        "weight": cached.head.weight is not None,
    }
    words = {"features": "features", "weight": "the head's weight"}
    return [words[need] for need in METHODS[method].needs if not has[need]]


def check_needs(cached: Cache, method: str, *, split: str = "train") -> None:
    """Raise a CacheError if the cache lacks what a method needs."""
    missing = missing_needs(cached, method, split=split)
    if missing:
        raise CacheError(
            f"{cached.path}: {' and '.join(missing)} expected for {method}, got a cache without; "
            "extract with --store both or import them too"
        )


def fit_metadata(cached: Cache, **more: Any) -> Mapping[str, Any]:
    """What a rectifier file says of where it comes from."""
    return {
        "cache_fingerprint": cached.fingerprint,
        "head_fingerprint": cached.head_fingerprint,
        **more,
        "versions": {"marr-pipeline": __version__, "torch": str(torch.__version__)},
    }


def fit_key(cached: Cache, key: str, *, seed: int = 0, progress: Progress = silent) -> Fit:
    """Fit the method of a key on the training rows of a cache, with its preset's settings.

    Args:
        cached: an open cache.
        key: `METHOD` or `METHOD:PRESET`.
        seed: of `sgd`.
        progress: told the passes or iterations.

    Raises:
        CacheError: the cache lacks what the method needs.
        ConfigError: no such key, or a setting that this cache cannot bear.
        FitError: the loss ran out of finite numbers.
    """
    method, preset = parse_method_key(key)
    check_needs(cached, method)
    dataset = dataset_name(cached)
    settings = preset_settings(preset, method=method, dataset=dataset, seed=seed)
    inputs, warnings = fit_inputs(
        cached,
        split=settings.fit_split,
        views=settings.fit_views,
        source="features" if cached.split(settings.fit_split).logits is None else "logits",
        device=torch.device("cpu"),
    )
    fit = fit_rectifier(
        inputs, settings, dataset=dataset, metadata=fit_metadata(cached), progress=progress
    )
    return replace(fit, warnings=(*warnings, *fit.warnings))
