"""Sets of labels for a rectifier's rows, calibrated on the split `tune` of a cache."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from marr_pipeline.cache import Cache, CacheError
from marr_pipeline.errors import DataError, LeakError
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.sets import CALIBRATES, LabelSets, fit_sets
from marr_pipeline.rectify.sets import SetSettings as SetSettings
from marr_pipeline.report.scores import BLOCK_LOGITS
from marr_pipeline.report.sets import SetMetrics, have_other_shares, measure_sets
from marr_pipeline.workflows.alike import refuse_test
from marr_pipeline.workflows.scored_rows import EvaluationRows, evaluation_rows


def calibrated_sets(
    cached: Cache, rectifier: Rectifier, settings: SetSettings, *, name: str
) -> tuple[LabelSets, list[str]]:
    """Sets for what a rectifier makes of rows like those of a cache's split `tune`.

    Args:
        cached: of the rectifier's head.
        rectifier: whose logits decide.
        settings: what the sets are to hold.
        name: of the rectifier, for warnings.

    Returns:
        The sets, and what they stand on where that needs a look.

    Raises:
        CacheError: the cache has no split `tune`.
        LeakError: its rows are the test split's.
        DataError: the rectifier needs what the cache lacks.
    """
    refuse_test(cached, "sets calibrated", "write the cache with a tune of other rows")
    if CALIBRATES not in cached.splits:
        raise CacheError(
            f"{cached.path}: a split {CALIBRATES} expected with sets, whose rows decide what is in "
            f"them, got {', '.join(cached.splits)}; write the cache with one, of rows that no "
            "fit has seen"
        )
    rows = evaluation_rows(cached, CALIBRATES)
    try:
        logits = rows.rectified(rectifier)
    except DataError as error:
        raise DataError(f"{cached.path}: {error}") from error
    sets = fit_sets(logits, rows.labels, settings, log_prior=rectifier.log_prior)
    warnings = sets.warnings()
    if rectifier.metadata.get("fit_split") == CALIBRATES:
        warnings.append(
            f"{name} was fitted on {CALIBRATES}, whose rows decide what is in a set: they look "
            "surer than others, and sets may hold fewer labels than asked; fit on train"
        )
    return sets, warnings


def promise(cached: Cache, settings: SetSettings, *, split: str | None = None) -> str:
    """What sets calibrated on a cache promise, and for which rows, in words.

    Args:
        cached: whose `tune` they are calibrated on.
        settings: what they are to hold.
        split: of the cache, whose labels are compared with those of `tune`.
    """
    labels = cached.split(CALIBRATES).labels
    least = settings.coverage
    if settings.interpolate not in (0, 1):
        least = max(0.0, round(2 * least - 1, 9))
    where = f"{cached.path}, split {CALIBRATES}"
    words = (
        f"For rows drawn as the {len(labels):,} of {where}, sets hold the label with a probability "
        f"of at least {least:g}{' in every class' if settings.interpolate == 1 else ''}; for "
        "others nothing is promised."
    )
    if split in ("train", CALIBRATES):
        seen = "the network was trained on" if split == "train" else "decide what is in a set"
        return f"{words} Those of {split} are others: it is them that {seen}."
    if split is None or not have_other_shares(
        labels, cached.split(split).labels, cached.num_classes
    ):
        return words
    return (
        f"{words} Those of {split} are others: their classes come in other shares. Look at the "
        "coverage of each group, not at that of all rows."
    )


@dataclass(frozen=True, kw_only=True)
class EvaluatedSets:
    """What the sets of several rectifiers are worth on one split.

    Attributes:
        settings: what they were to hold.
        promise: what they promise, in words.
        metrics: by the rectifier's key.
    """

    settings: SetSettings
    promise: str
    metrics: Mapping[str, SetMetrics]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        methods = {key: found.record() for key, found in self.metrics.items()}
        return {**asdict(self.settings), "promise": self.promise, "methods": methods}


def evaluate_sets(
    cached: Cache,
    rows: EvaluationRows,
    rectifiers: Mapping[str, Rectifier],
    settings: SetSettings,
    *,
    split: str,
) -> tuple[EvaluatedSets, list[str]]:
    """Sets of every rectifier, calibrated on `tune` and scored on another split.

    Args:
        cached: the cache.
        rows: of the split.
        rectifiers: by key.
        settings: what the sets are to hold.
        split: name of the split that is scored.

    Returns:
        What they are worth, and what needs a look.

    Raises:
        CacheError: the cache has no split `tune`.
        LeakError: that is the split to be scored.
    """
    if split == CALIBRATES:
        raise LeakError(
            f"--split: another split than {CALIBRATES} expected with sets, whose thresholds its "
            f"rows decide, got {split}; score test"
        )
    metrics, warnings = {}, list[str]()
    for key, rectifier in rectifiers.items():
        sets, told = calibrated_sets(cached, rectifier, settings, name=key)
        metrics[key] = _measured(rows, rectifier, sets)
        warnings += [each for each in told if each not in warnings]
    found = EvaluatedSets(
        settings=settings, promise=promise(cached, settings, split=split), metrics=metrics
    )
    return found, warnings


def _measured(rows: EvaluationRows, rectifier: Rectifier, sets: LabelSets) -> SetMetrics:
    num_samples, num_classes = len(rows.labels), len(rows.class_counts)
    is_covered = np.empty(num_samples, np.bool_)
    sizes = np.empty(num_samples, np.int64)
    step = max(1, BLOCK_LOGITS // num_classes)
    for start in range(0, num_samples, step):
        block = slice(start, start + step)
        members = sets.members(rows.rectified(rectifier, block))
        is_covered[block] = members.gather(1, rows.labels[block, None])[:, 0].numpy()
        sizes[block] = members.sum(1).numpy()
    return measure_sets(is_covered, sizes, rows.labels.numpy(), rows.class_counts, cuts=rows.cuts)
