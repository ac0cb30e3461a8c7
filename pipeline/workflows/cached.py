"""From a cache to what `rectify` and `report` take: the seam between the two phases."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from marr_pipeline.cache import (
    READ_UP_TO,
    Cache,
    CachedSplit,
    CacheError,
    Head,
    ViewKind,
    open_cache,
)
from marr_pipeline.errors import LeakError
from marr_pipeline.files import FileName
from marr_pipeline.rectify.inputs import FitInputs, HeadFacts
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.rows.source import FeatureLogits
from marr_pipeline.rectify.settings import FittedRows, RectifySettings
from marr_pipeline.workflows.alike import refuse_test

OLD_DAYS = 90
"""Since a file was last written or copied, from when on `verify` is recommended for large rows."""

CacheLike = Cache | FileName
"""What a workflow takes: an open cache, or where one is."""


def opened(cache: CacheLike) -> Cache:
    """The open cache.

    Raises:
        CacheError: not a cache, unfinished, damaged or of a newer version.
    """
    return cache if isinstance(cache, Cache) else open_cache(Path(cache))


def split_inputs(
    cached: Cache,
    *,
    split: str,
    views: ViewKind,
    source: str | None = None,
    device: torch.device | None = None,
) -> tuple[FitInputs, list[str]]:
    """The rows of a split as fits and tuning take them, and what the cache could not give.

    Args:
        cached: an open cache.
        split: the split.
        views: `augmented`, `clean` or `all`; a cache without augmented views gives its clean one.
        source: `logits`, or `features` to compute them anew from the head; None takes the logits
            where there are some.
        device: where they are used; None for the CPU.

    Raises:
        CacheError: the cache lacks the split, the views or what `source` needs.
    """
    rows = cached.split(split)
    if cached.head is None and source == "logits":
        raise CacheError(
            f"{cached.path}: logits expected with --from logits, got features alone; leave it out"
        )
    warnings = _unread(cached)
    if views == "augmented" and "augmented" not in rows.views:
        warnings.append(
            f"{cached.path}: split {split} has no augmented view, its clean one is fitted"
        )
        views = "clean"
    chosen = rows.view_indices(views)
    if not chosen:
        raise CacheError(
            f"{cached.path}: split {split} has the views {', '.join(rows.views)}, got "
            f"--fit-views {views}; choose others or "
            f"{'import them' if is_imported(cached) else 'extract with --views'}"
        )
    # Views of a kind stand together, so this is a slice and no copy.
    chosen_views = slice(chosen[0], chosen[-1] + 1)
    device = device or torch.device("cpu")
    head = head_facts(cached)
    weight = None if cached.head is None else cached.head.weight
    return (
        FitInputs(
            logits=None
            if cached.head is None
            else logits_of(cached, cached.head, rows, chosen_views, source, device),
            labels=torch.from_numpy(rows.labels),
            weight_norm=head.weight_norm,
            class_counts=torch.from_numpy(cached.class_counts),
            prior_counts=head.prior_counts,
            bias=head.bias,
            unit=head.unit,
            weight=None if weight is None else torch.from_numpy(weight),
            features=None
            if rows.features is None
            else torch.from_numpy(rows.features[chosen_views]).to(device),
            rows=known_rows(cached, split) or "seen",
            refuse_not_finite=rows.refuse_not_finite,
        ),
        warnings,
    )


def _unread(cached: Cache) -> list[str]:
    """A word on rows that are used as they are, where the file has lain for long."""
    days = int((time.time() - cached.path.stat().st_mtime) / 86_400) if cached.path.exists() else 0
    if days < OLD_DAYS or not any(split.is_mapped for split in cached.splits.values()):
        return []
    return [
        f"{cached.path}: last written {days} days ago, and rows of more than "
        f"{READ_UP_TO >> 20} MiB are compared with their checksums by `pipeline verify` alone; run "
        "it, and `touch` the file if it is sound"
    ]


def with_fit_split(cached: Cache, settings: RectifySettings) -> RectifySettings:
    """The settings with a split named: `tune`, as it is, where there is one, else `train`.

    Where phase one has not seen the rows of `train` either, these, which are more; and where a
    shift of each class is fitted of which `tune` has no row.
    """
    if settings.fit_split is not None:
        return settings
    if "tune" not in cached.splits or known_rows(cached, "train") == "held-out":
        return replace(settings, fit_split="train")
    family = METHODS[settings.method].family
    counts = torch.from_numpy(cached.class_counts)
    present = torch.bincount(torch.from_numpy(cached.split("tune").labels), minlength=len(counts))
    lacks = bool(((counts > 0) & (present == 0)).any())
    if lacks and family is not None and family(counts.double()).shift_unit is not None:
        return replace(settings, fit_split="train")
    views: ViewKind = "clean" if "clean" in cached.split("tune").views else "all"
    return replace(settings, fit_split="tune", fit_views=views)


def fit_inputs(
    cached: Cache,
    settings: RectifySettings,
    *,
    source: str | None = None,
    device: torch.device | None = None,
) -> tuple[FitInputs, list[str]]:
    """`split_inputs` of the rows that a fit with these settings, which name a split, is made on.

    Raises:
        CacheError: the cache lacks what the settings ask for.
        LeakError: the rows are those of the test split.
    """
    assert settings.fit_split is not None
    if settings.fit_split == "test":
        raise LeakError(
            "--fit-split: a split for fitting expected, got test; what is fitted on the test "
            "samples cannot be scored on them"
        )
    if settings.fit_split == "tune":
        refuse_test(cached, "what is fitted", "use --fit-split train")
    check_needs(cached, settings.method, split=settings.fit_split)
    inputs, warnings = split_inputs(
        cached,
        split=settings.fit_split,
        views=settings.fit_views,
        source=source,
        device=device,
    )
    return replace(inputs, rows=settings.rows or inputs.rows), warnings


def missing_needs(cached: Cache, method: str, *, split: str = "train") -> list[str]:
    """What a method needs and a cache lacks, in words; empty if it can be fitted."""
    rows, head = cached.split(split), cached.head
    has = {
        "logits": head is not None,
        "features": rows.num_features is not None,
        "weight": head is not None and head.weight is not None,
    }
    words = {"logits": "logits", "features": "features", "weight": "the head's weight"}
    return [words[need] for need in METHODS[method].needs if not has[need]]


def check_needs(cached: Cache, method: str, *, split: str = "train") -> None:
    """Raise a CacheError if the cache lacks what a method needs."""
    missing = missing_needs(cached, method, split=split)
    if "logits" in missing:
        heads = [name for name, each in METHODS.items() if "logits" not in each.needs]
        raise CacheError(
            f"{cached.path}: logits expected for {method}, got a cache of features alone; fit a "
            f"head on them (--method {', '.join(heads)}), or import them with --head, which may be "
            "such a fit"
        )
    if missing:
        raise CacheError(
            f"{cached.path}: {' and '.join(missing)} expected for {method}, got a cache without; "
            f"{'import them too' if is_imported(cached) else 'extract with --store both'}"
        )


def logits_of(
    cached: Cache,
    head: Head,
    rows: CachedSplit,
    views: slice,
    source: str | None,
    device: torch.device,
) -> Tensor | FeatureLogits:
    """Those stored, unless they are to be computed anew or there are none."""
    if rows.logits is not None and source != "features":
        return torch.from_numpy(rows.logits[views]).to(device)
    if source == "logits":
        raise CacheError(
            f"{cached.path}: split {rows.name} holds features alone; use --from features"
        )
    weight, bias = head.weight, head.bias
    if rows.features is None or weight is None:
        missing = "features" if rows.features is None else "head weight"
        raise CacheError(
            f"{cached.path}: --from features needs features and the head's weight, got no "
            f"{missing}; use --from logits"
        )
    return FeatureLogits(
        features=torch.from_numpy(rows.features[views]).to(device),
        weight=torch.from_numpy(weight),
        bias=None if bias is None else torch.from_numpy(bias),
        unit=head.normalise == "unit",
    )


def head_facts(cached: Cache) -> HeadFacts:
    """What the cache knows of its head; unknown prior counts are the training counts.

    Where there is none the norms are 1.
    """
    counts = cached.class_counts.astype(np.float64)
    head = cached.head or Head(weight_norm=np.ones(cached.num_classes))
    return HeadFacts(
        weight_norm=torch.from_numpy(head.weight_norm),
        prior_counts=torch.from_numpy(counts if head.prior_counts is None else head.prior_counts),
        bias=None if head.bias is None else torch.from_numpy(head.bias),
        unit=head.normalise == "unit",
    )


def is_imported(cached: Cache) -> bool:
    """Whether it was made of arrays, and its owner knows no images."""
    return "files" in cached.documents


def known_rows(cached: Cache, split: str) -> FittedRows | None:
    """Whether phase one has seen the rows of a split; None where an import did not say."""
    if split != "train":
        return "held-out"
    if not is_imported(cached):
        return "seen"
    said = cached.meta("rows") if "rows" in cached.documents else None
    return "held-out" if said == "held-out" else "seen" if said == "seen" else None


def dataset_name(cached: Cache) -> str | None:
    """The dataset that phase one used; None for an imported cache."""
    if "provenance" not in cached.documents:
        return None
    return str(cached.record("provenance")["dataset"])
