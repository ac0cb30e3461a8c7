"""The numbered checks of `report`, on what a cache and its rectifiers hold."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from marr_pipeline.cache import Cache
from marr_pipeline.groups import ABSENT_CLASS_IMAGES
from marr_pipeline.names import REFERENCES
from marr_pipeline.report import checks
from marr_pipeline.report import rows as row_checks
from marr_pipeline.report.checks import Finding
from marr_pipeline.report.scores import SampleScores
from marr_pipeline.workflows.cached import EvaluationRows, evaluation_rows
from marr_pipeline.workflows.last_look import order_finding
from marr_pipeline.workflows.tuning import PROBE

if TYPE_CHECKING:
    from marr_pipeline.workflows.evaluate import Evaluation

COMPARED_ROWS = 2_000
"""Of each view, to see whether views are copies."""
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def find(shown: "Evaluation") -> list[Finding]:
    """What every check finds of a cache and its rectifiers, in the order of their numbers."""
    cached, split = shown.cached, shown.split
    counts = cached.class_counts
    test_labels = shown.rows.labels.numpy()
    rectifiers = {key: one for key, one in shown.rectifiers.items() if key not in REFERENCES}
    softmax = shown.rectifiers["softmax"]
    found = [checks.absent_classes(counts)]
    train = evaluation_rows(cached, "train") if "train" in cached.splits else None
    on_train = None if train is None else train.scores(softmax)
    if train is not None and on_train is not None:
        prior = None if cached.head is None else cached.head.prior_counts
        found += [
            checks.memorised_rows(on_train),
            checks.contradicted_prior(
                _mean_prediction(train, prior), on_train.labels, _known(prior, counts)
            ),
        ]
    found += [
        checks.unsolved_fits(
            {key: str(one.metadata.get("status")) for key, one in rectifiers.items()}
        ),
        checks.negative_scales({key: one.scale.numpy() for key, one in rectifiers.items()}),
        checks.imbalanced_test(counts, test_labels),
        checks.small_groups(counts, test_labels, shown.rows.cuts),
    ]
    if train is not None and on_train is not None:
        found.append(order_finding(on_train.labels, on_train.predicted, cached.num_classes))
    found.append(
        row_checks.probabilities_for_logits(shown.rows.logits[:COMPARED_ROWS].double().numpy())
    )
    if train is not None and on_train is not None:
        nll = {
            key: _balanced_nll(train.scores(one), counts)
            for key, one in rectifiers.items()
            if one.metadata.get("fit_split") == "train"
        }
        before = _balanced_nll(on_train, counts)
        found.append(
            checks.worse_on_own_rows(nll, on_train, softmax=before, num_classes=cached.num_classes)
        )
    found.append(
        checks.tuned_on_seen_rows(
            [
                key
                for key, one in rectifiers.items()
                if (one.metadata.get("tuning") or {}).get("source") == "cross-validation"
                and PROBE not in cached.documents  # features of a network that saw other rows
            ]
        )
    )
    if train is not None:
        rows = cached.split("train")
        stored = rows.logits if rows.logits is not None else rows.features
        assert stored is not None
        found.append(row_checks.copied_views([view[:COMPARED_ROWS] for view in stored], rows.views))
        found.append(_shared(cached, split) if split != "train" else None)
        shared = stored[rows.clean_view]
        found += [row_checks.constant_rows(shared), row_checks.one_vector(shared)]
    return [finding for finding in found if finding is not None]


def _known(prior: npt.NDArray[Any] | None, counts: Counts) -> Floats:
    return counts.astype(np.float64) if prior is None else prior


def _mean_prediction(train: EvaluationRows, prior: npt.NDArray[Any] | None) -> Floats:
    """(K,) mean softmax of the clean training rows, taken from the prior said to training's."""
    counts = train.class_counts.astype(np.float64)
    said = _known(prior, train.class_counts)
    shift = np.log(np.maximum(counts, ABSENT_CLASS_IMAGES))
    shift -= np.log(np.maximum(said, ABSENT_CLASS_IMAGES))
    total = np.zeros(len(counts))
    step = max(1, 2**22 // len(counts))
    for start in range(0, len(train.labels), step):
        logits = train.logits[start : start + step].double() + torch.from_numpy(shift)
        total += logits.softmax(1).sum(0).numpy()
    return total / len(train.labels)


def _balanced_nll(scores: SampleScores, counts: Counts) -> float:
    rows = np.bincount(scores.labels, minlength=len(counts))
    nll = np.bincount(scores.labels, weights=scores.nll, minlength=len(counts))
    return float((nll[rows > 0] / rows[rows > 0]).mean())


def _shared(cached: Cache, split: str) -> Finding | None:
    train, test = cached.split("train"), cached.split(split)
    if train.ids is not None and test.ids is not None:
        return row_checks.shared_rows(np.asarray(train.ids), np.asarray(test.ids), what="ids")
    if train.logits is None or test.logits is None:
        return None
    return row_checks.shared_rows(
        train.logits[train.clean_view], test.logits[test.clean_view], what="logits"
    )
