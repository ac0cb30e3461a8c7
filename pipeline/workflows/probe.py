"""The plain probe: what stands for the softmax where a cache holds features alone.

Its head is fitted on the training rows with the plain loss, as the last layer of a network is. With
it in its place everything that works on logits works on such a cache: softmax is then the probe as
it is, logit adjustment the probe less its prior, and both are called so.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from marr_pipeline.cache import Cache
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.rectifier import HeadRectifier
from marr_pipeline.workflows.arrays.head import build_head, head_arrays
from marr_pipeline.workflows.cached import dataset_name, fit_inputs, with_fit_split
from marr_pipeline.workflows.tuning import PROBE, tuned_or_preset

if TYPE_CHECKING:
    from marr_pipeline.report.comparison import Scored

NAMES = {"softmax": "plain probe", "logit-adjustment": "plain probe, logit-adjusted"}
"""What the references are then called."""

_Value = TypeVar("_Value")


def with_probe(
    cached: Cache, *, eval_split: str, progress: Progress = silent
) -> tuple[Cache, list[str]]:
    """The cache, with a probe for its head where it has none, and what of the fit needs a look.

    The strength of its ridge is chosen on samples held out, never on `eval_split`. The class counts
    are the prior that the probe's logits stand for. Nothing is written.

    Raises:
        CacheError: there is no train split to fit it on, or none to evaluate.
        FitError: the loss ran out of finite numbers.
    """
    if cached.head is not None:
        return cached, []
    cached.split(eval_split)  # one that is not there is said before the fits
    dataset = dataset_name(cached)
    settings = preset_settings("default", method="head", dataset=dataset, tau=0.0)
    settings = with_fit_split(cached, settings)
    inputs, lacking = fit_inputs(cached, settings)
    settings, _, told = tuned_or_preset(
        cached, inputs, settings, eval_split=eval_split, progress=progress
    )
    fit = fit_rectifier(inputs, settings, dataset=dataset)
    assert isinstance(fit.rectifier, HeadRectifier)
    arrays = head_arrays(fit.rectifier)
    head = build_head(arrays, num_classes=cached.num_classes, where=str(cached.path))
    prior = cached.class_counts.astype(np.float64)
    record = {
        "l2": settings.l2,
        "normalise": head.normalise,
        "fit_split": settings.fit_split,
        "parameters": fit.num_parameters,
        **fit.record(),
    }
    documents = {**cached.documents, PROBE: json.dumps(record)}
    found = replace(cached, head=replace(head, prior_counts=prior), documents=documents)
    said = (
        f"{cached.path}: features alone; softmax and logit adjustment are a plain probe's (l2 "
        f"{settings.ridge:g})"
    )
    return found, [said, *lacking, *told, *fit.warnings]


def probe_record(cached: Cache) -> dict[str, Any] | None:
    """How the probe was fitted; None where the cache has a head."""
    return json.loads(cached.documents[PROBE]) if PROBE in cached.documents else None


def with_probe_facts(cached: Cache, key: str, scored: "Scored") -> "Scored":
    """The softmax of a probe, and what is made of it, with what the fit of the probe took."""
    record = probe_record(cached)
    if record is None or key not in NAMES:
        return scored
    spent = {name: record[name] for name in ("parameters", "seconds")}
    return replace(
        scored,
        status=record["status"],
        fit_split=record["fit_split"],
        facts={**scored.facts, **spent},
    )


def reference_names(cached: Cache) -> dict[str, str]:
    """The names of the references that readers see, by method."""
    return NAMES if PROBE in cached.documents else {key: key for key in NAMES}


def named(found: Mapping[str, _Value]) -> dict[str, _Value]:
    """By method, the references under the names that they have as a probe's."""
    return {NAMES.get(key, key): value for key, value in found.items()}
