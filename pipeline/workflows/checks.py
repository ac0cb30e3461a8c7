"""The numbered checks on what a cache and its rectifiers hold."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache import Cache, CachedSplit, ViewKind, differences
from marr_pipeline.checks import classes, fits
from marr_pipeline.checks import rows as of_rows
from marr_pipeline.checks.own_rows import OwnRows
from marr_pipeline.findings import Finding, Mute, heard
from marr_pipeline.names import REFERENCES
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.report.population import Population, as_sampled
from marr_pipeline.workflows.cached import known_rows, split_inputs
from marr_pipeline.workflows.scored_rows import EvaluationRows
from marr_pipeline.workflows.tuning import PROBE

NEW_ROWS = 16_384
"""Of a new cache, to see whether its classes are in another order."""
MOST_BYTES = 2**30
"""Of a split whose rows are compared: of 7 GB on a disk a pass over all would take a minute."""
COPIED_ROWS = 100
"""Of each view, to see whether views are copies."""
DOCUMENTS = ("config", "transforms")
"""Of a cache's records, those that say what was trained and how its views were made."""
SEEDS = ("seed", "data_seed")


def find(
    cached: Cache,
    rectifiers: Mapping[str, Rectifier],
    *,
    split: str,
    rows: EvaluationRows | None,
    scored: Population | None = None,
    is_moved: bool = False,
    gains: Mapping[str, tuple[float, float]] | None = None,
    fitted: Mapping[str, FitInputs] | None = None,
    mute: Mute = (),
) -> tuple[Finding, ...]:
    """What every check finds that is not muted, in the order of their numbers.

    Args:
        cached: the cache.
        rectifiers: of it, by name, without the references.
        split: whose rows are scored.
        rows: these; None if there are none.
        scored: what they count; None for each alike.
        is_moved: whether logits were moved to a target prior, so that accuracy under it is asked
            for, and fits are no longer what maximised a likelihood.
        gains: of rectifiers over the softmax, in overall and in balanced accuracy.
        fitted: by split, the rows that the rectifiers were fitted on; None to read them.
        mute: numbers that are not to speak.
    """
    is_probe = PROBE in cached.documents
    found = [*row_findings(cached, split), *fits.fit_findings(rectifiers)]
    for part, inputs in (fitted or _fitted_rows(cached, rectifiers)).items():
        own = {
            name: one
            for name, one in rectifiers.items()
            if one.metadata.get("fit_split") == part and not is_moved
        }
        found += fits.own_findings(inputs, own, is_probe=is_probe)
    if rows is not None:
        scored = scored or as_sampled(rows.labels.numpy(), cached.num_classes)
        found.append(classes.small_groups(cached.class_counts, scored.samples, rows.cuts))
        if not is_moved and split != "train":
            found.append(classes.imbalanced_test(cached.class_counts, scored.mass, gains))
    if cached.head is not None and not is_probe:  # which a network has made of the same rows
        seen = [
            name
            for name, one in rectifiers.items()
            if (one.metadata.get("tuning") or {}).get("source") == "cross-validation"
            and known_rows(cached, str(one.metadata.get("fit_split"))) != "held-out"
        ]
        found.append(fits.tuned_on_seen_rows(seen))
    return heard(found, mute)


def gains(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Of all but the references over the softmax, where there is one: overall, balanced."""
    softmax = metrics.get("softmax")
    if softmax is None:
        return {}
    return {
        key: (one["overall"] - softmax["overall"], one["balanced"] - softmax["balanced"])
        for key, one in metrics.items()
        if key not in REFERENCES
    }


def last_look(cached: Cache) -> tuple[Finding, ...]:
    """What of a new cache's training rows a fit would go through without an error, and be wrong."""
    found = row_findings(cached, "train")
    for inputs in _fitted_rows(cached, {}).values():
        if inputs.logits is not None:
            found.append(fits.order_finding(OwnRows.of(inputs, NEW_ROWS)))
    return heard(found)


def row_findings(cached: Cache, split: str) -> list[Finding | None]:
    """Of the rows as they are stored, whatever is fitted on them."""
    found = [classes.absent_classes(cached.class_counts, cached.class_names)]
    if "train" not in cached.splits:
        return found
    train = cached.split("train")
    views = train.logits if train.logits is not None else train.features
    assert views is not None
    found.append(of_rows.copied_views([view[:COPIED_ROWS] for view in views], train.views))
    if split != "train" and split in cached.splits:
        found.append(_shared(train, cached.split(split)))
    rows = _first_rows(views[train.clean_view])
    return [*found, of_rows.constant_rows(rows), of_rows.one_vector(rows)]


def _fitted_rows(cached: Cache, rectifiers: Mapping[str, Rectifier]) -> dict[str, FitInputs]:
    """By split, the rows that rectifiers say they were fitted on; without any those of training."""
    splits = dict.fromkeys(str(one.metadata.get("fit_split")) for one in rectifiers.values())
    found = {}
    for name in [name for name in splits if name in cached.splits] or ["train"]:
        if name in cached.splits:
            rows = cached.split(name)
            views: ViewKind = "augmented" if "augmented" in rows.views else "clean"
            found[name] = split_inputs(cached, split=name, views=views)[0]
    return found


def _first_rows(rows: of_rows.Rows) -> of_rows.Rows:
    """(n, W), as many of (N, W) as are read in no time."""
    return rows[: max(1, MOST_BYTES // rows[0].nbytes)]


def _only_counts(ids: npt.NDArray[np.generic]) -> bool:
    """Whether they are the places of the rows, which are the same in every split."""
    return ids.dtype.kind != "S" and bool((ids == np.arange(len(ids)) + ids[0]).all())


def _shared(train: CachedSplit, test: CachedSplit) -> Finding | None:
    ids = [split.stored_ids for split in (train, test) if split.stored_ids is not None]
    if len(ids) == 2 and not any(map(_only_counts, ids)):
        return of_rows.shared_ids(*ids)
    for what in ("logits", "features"):
        one, other = getattr(train, what), getattr(test, what)
        if one is not None and other is not None:
            rows = (one[train.clean_view], other[test.clean_view])
            return of_rows.shared_rows(*map(_first_rows, rows), what=what)
    return None


def over_caches(
    found: Sequence[tuple[Finding, ...]], caches: Sequence[Cache]
) -> tuple[Finding, ...]:
    """One line a number: the first cache's that has it, and in how many of them it is so."""
    if len(found) == 1:
        return found[0]
    by_code: dict[str, list[tuple[Path, Finding]]] = {}
    for cached, findings in zip(caches, found, strict=True):
        for one in findings:
            by_code.setdefault(one.code, []).append((cached.path, one))
    lines = []
    for each in by_code.values():
        path, first = each[0]
        told = f"{path}: {first.sentence} So in {len(each)} of {len(found)} caches."
        lines.append(replace(first, sentence=told))
    return tuple(lines)


def differing_runs(caches: Sequence[Cache]) -> Finding | None:
    """R12: by their records, caches differ in more than their seeds."""
    first = caches[0]
    told = []
    for cached in caches[1:]:
        shared = [name for name in DOCUMENTS if {name} <= first.documents.keys() & cached.documents]
        lines = differences(*({name: one.meta(name) for name in shared} for one in (first, cached)))
        lines = [line for line in lines if line.split(":")[0].split(".")[-1] not in SEEDS]
        if lines:
            told.append(f"{cached.path} from {first.path} ({'; '.join(lines)})")
    if not told:
        return None
    return Finding(
        "R12",
        f"A cache differs in more than its seed: {'; '.join(told)}.",
        "Means and deviations are of runs that differ in their seeds alone: compare these one by "
        "one.",
    )
