"""`combine`: caches of the same rows into one, whose logits are the weighted sum of theirs.

M caches, N rows, K classes. Before they are added, the log of the prior that a cache's logits stand
for is taken from them, so that the sum stands for the uniform prior. Features are left out: those
of several backbones are joined by `import`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from marr_pipeline import cache
from marr_pipeline.cache import Cache, CacheError
from marr_pipeline.errors import ConfigError, FitError, LeakError
from marr_pipeline.files import FileName
from marr_pipeline.optim.solvable import FitStatus, Solution
from marr_pipeline.progress import one_line
from marr_pipeline.rectify.combination import (
    BLOCK_NUMBERS,
    CombinationLoss,
    fit_weights,
    for_uniform_prior,
)
from marr_pipeline.rectify.rows.source import Rows
from marr_pipeline.workflows import CREATOR, library_versions
from marr_pipeline.workflows.alike import (
    check_each_once,
    check_same_rows,
    common_views,
    refuse_test,
)
from marr_pipeline.workflows.cached import CacheLike, dataset_name, head_facts, opened, split_inputs

FITTED_ON = "tune"
LEAST = 1e-6
"""Of the largest weight: what is added by less is lost in float32, and no class stands out."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What was added, and with which weights.

    Attributes:
        path: the cache.
        fingerprint: of its contents.
        parents: the caches that were added.
        weights: (M,) of their logits.
        fit: of the weights; None where they were given.
        alone: mean over classes of the negative log likelihood on `tune` of each cache alone, at
            its own best weight; empty without a fit.
        warnings: what a user should look at.
    """

    path: Path
    fingerprint: str
    parents: tuple[Path, ...]
    weights: tuple[float, ...]
    fit: Solution | None
    alone: tuple[float, ...]
    warnings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline combine`."""
        fit = self.fit
        return {
            "command": "combine",
            "cache": self.path,
            "fingerprint": self.fingerprint,
            "parents": list(self.parents),
            "weights": list(self.weights),
            "fit_split": None if fit is None else FITTED_ON,
            "status": None if fit is None else fit.status,
            "loss": None if fit is None else fit.loss,
            "grad_norm": None if fit is None else fit.gradient_norm,
            "passes": None if fit is None else fit.passes,
            "loss_alone": list(self.alone),
            "warnings": list(self.warnings),
        }

    def text(self) -> str:
        """A line a cache, and one for all."""
        shown = [f"{loss:10.4f}" for loss in self.alone] or [""] * len(self.weights)
        lines = [
            f"{'weight':>9s}{'nll alone':>10s}  cache" if self.fit else f"{'weight':>9s}  cache"
        ]
        lines += [
            f"{weight:9.4f}{loss}  {path}"
            for weight, loss, path in zip(self.weights, shown, self.parents, strict=True)
        ]
        if self.fit is not None:
            lines.append(
                f"{'together':>9s}{self.fit.loss:10.4f}  on {FITTED_ON}, {self.fit.status}"
            )
        return "\n".join(map(one_line, lines))


def combine(
    caches: Sequence[CacheLike],
    output: FileName,
    *,
    weights: Sequence[float] | None = None,
    overwrite: bool = False,
) -> Combination:
    """Write the cache of a weighted sum of logits; it stands for the uniform prior.

    All views are added where all caches have the same, drawn alike, else the clean one alone.

    Args:
        caches: two or more, of the same rows in the same order.
        output: the cache.
        weights: one a cache, none negative and one at least positive; None fits them on `tune`.
        overwrite: replace an existing cache.

    Raises:
        ConfigError: weights of another number, or that are none; a cache twice, or as output.
        DataError: the caches are not of the same rows and classes.
        CacheError: a cache has no logits, or no `tune` and no other split to score on either.
        LeakError: there is no `tune`, or it is the test split, so that weights would be fitted on
            what is scored.
        FitError: no weights are best, or none of the caches is of use.
        CacheWriteError: the file cannot be written.
    """
    output, members = Path(output), [opened(each) for each in caches]
    _check_weights(weights, members)
    for each in members:
        if each.head is None:
            raise CacheError(
                f"{each.path}: logits to add expected, got features alone; fit a head (rectify "
                "--method head) and import the features with it (--head)"
            )
    check_each_once(members, "cache")
    if output.exists() and any(output.samefile(each.path) for each in members):
        raise ConfigError(
            f"{output}: a file other than the caches that are added expected as "
            "output, got one of them; give another name"
        )
    unchecked = [note for other in members[1:] for note in check_same_rows(members[0], other)]
    priors = torch.stack([head_facts(each).log_prior for each in members])
    warnings = unchecked + [
        f"{each.path}: the prior that its logits stand for is not known, that of the training "
        "counts is taken"
        for each in members
        if each.head is not None and each.head.prior_counts is None
    ]
    fit: Solution | None = None
    alone: tuple[float, ...] = ()
    if weights is None:
        fit, alone = _fitted(members, priors)
        weights = tuple(fit.theta.tolist())
        warnings += [
            f"{each.path}: its weight is 0: it adds nothing to the others on {FITTED_ON}"
            for each, weight in zip(members, weights, strict=True)
            if weight == 0
        ]
    views = {name: common_views(members, name) for name in members[0].splits}
    only_clean = [
        name
        for name, kinds in views.items()
        if any(kinds != each.split(name).views for each in members)
    ]
    if only_clean:
        warnings.append(
            f"{', '.join(only_clean)}: the clean view alone is added, as the others are not of "
            "one kind in all caches, or not drawn alike"
        )
    plan = _plan(members, weights, views)
    with cache.CacheWriter(output, plan, overwrite=overwrite) as writer:
        for name in plan.splits:
            first = members[0].split(name)
            writer.write_labels(name, first.labels)
            if first.ids is not None:
                writer.write_ids(name, first.ids)
            rows = [_rows(each, name, num_views=len(views[name])) for each in members]
            for view, start, logits in _summed(
                rows, priors, weights, num_samples=first.num_samples
            ):
                writer.write_block(name, view=view, start=start, logits=logits.numpy())
        for each in members:
            each.require_unchanged()
    return Combination(
        path=output,
        fingerprint=cache.open_cache(output).fingerprint,
        parents=tuple(each.path for each in members),
        weights=tuple(float(weight) for weight in weights),
        fit=fit,
        alone=alone,
        warnings=tuple(warnings),
    )


def _check_weights(weights: Sequence[float] | None, members: Sequence[Cache]) -> None:
    """Raise a ConfigError unless there are caches to add, and weights, if given, are that."""
    if len(members) < 2:
        raise ConfigError(f"combine: two or more caches expected, got {len(members)}; add one")
    if weights is None:
        return
    values = np.asarray(weights, dtype=np.float64)
    if len(values) != len(members):
        raise ConfigError(
            f"--weights: {len(members)} numbers expected, one a cache, got {len(values)}; give "
            "them in the caches' order"
        )
    if not (np.isfinite(values).all() and (values >= 0).all() and values.max() >= LEAST):
        shown = ",".join(f"{value:g}" for value in values)
        raise ConfigError(
            f"--weights: finite numbers of at least 0, one of them above ({LEAST:g} at least), "
            f"expected, got {shown}; leave --weights out to fit them on tune"
        )


def _fitted(members: Sequence[Cache], priors: Tensor) -> tuple[Solution, tuple[float, ...]]:
    """The fit of the weights on `tune`, and the loss there of each cache at its own best weight."""
    by_hand = f"give --weights {','.join('1' * len(members))}"
    if FITTED_ON not in members[0].splits:
        if "test" in members[0].splits:
            raise LeakError(
                f"{members[0].path}: a split {FITTED_ON} expected, on which weights are fitted, "
                f"got none, and the test split cannot be fitted and scored on; {by_hand}, or "
                "extract with --tune-fraction"
            )
        raise CacheError(
            f"{members[0].path}: a split {FITTED_ON} expected, on which weights are fitted, got "
            f"none; {by_hand}"
        )
    for each in members:
        remedy = f"{by_hand}, or write the caches with another {FITTED_ON}"
        refuse_test(each, "weights fitted", remedy)
    split = members[0].split(FITTED_ON)
    labels = torch.from_numpy(split.labels)
    rows = [_rows(each, FITTED_ON, num_views=1) for each in members]
    fit = fit_weights(CombinationLoss(rows, priors, labels))
    if fit.status is FitStatus.UNBOUNDED:
        raise FitError(
            f"combine: rows of {FITTED_ON} of which some are taken for another class expected, got "
            f"{len(labels):,} that a sum tells all apart, so that larger weights are better for "
            f"ever; {by_hand}, or more rows"
        )
    if fit.theta.max() < LEAST:
        raise FitError(
            f"combine: a cache expected whose logits tell the classes of {FITTED_ON} apart, got "
            f"none: every weight is 0; are rows and classes in one order? If so, {by_hand}"
        )
    alone = [
        fit_weights(CombinationLoss([own], prior[None], labels)).loss
        for own, prior in zip(rows, priors, strict=True)
    ]
    return fit, tuple(float("nan") if loss is None else loss for loss in alone)


def _rows(cached: Cache, name: str, *, num_views: int) -> Rows:
    """The logits (V N, K) of a split's first views, of which a clean one is the first."""
    inputs, _ = split_inputs(cached, split=name, views="all")
    rows, _ = inputs.first_views(num_views).source()
    return rows


def _plan(
    members: Sequence[Cache], weights: Sequence[float], views: dict[str, tuple[str, ...]]
) -> cache.CachePlan:
    """What the combined cache will hold: logits alone, and where they came from."""
    first = members[0]
    named = next((each.class_names for each in members if each.class_names is not None), None)
    datasets = {dataset_name(each) for each in members}
    origin: dict[str, object] = {
        "parents": [each.fingerprint for each in members],
        "weights": [float(weight) for weight in weights],
    }
    is_half = all(
        rows is not None and rows.extent.dtype == np.float16
        for each in members
        for rows in (split.stored.get("logits") for split in each.splits.values())
    )
    dtype: Literal["float32", "float16"] = "float16" if is_half else "float32"
    return cache.CachePlan(
        class_counts=first.class_counts,
        head=cache.Head(
            weight_norm=np.ones(first.num_classes), prior_counts=np.ones(first.num_classes)
        ),
        splits={
            name: cache.SplitPlan(
                num_samples=split.num_samples, views=views[name], has_ids=split.ids is not None
            )
            for name, split in first.splits.items()
        },
        dtype=dtype,
        class_names=named,
        parts={
            "combined": origin,
            "views": {name: list(kinds) for name, kinds in views.items()},
            "dtype": dtype,
        },
        meta={
            "combined": {**origin, "caches": [each.path.name for each in members]},
            **(
                {"provenance": {"dataset": datasets.pop()}}
                if len(datasets) == 1 and None not in datasets
                else {}
            ),
        },
        creator=CREATOR,
        libraries=library_versions(),
    )


def _summed(
    rows: Sequence[Rows], priors: Tensor, weights: Sequence[float], *, num_samples: int
) -> Iterator[tuple[int, int, Tensor]]:
    """Blocks of the sum: view, first row, and logits (B, K) float64."""
    factors = torch.tensor(weights, dtype=torch.float64)
    size = max(1, BLOCK_NUMBERS // priors.numel())
    for view in range(rows[0].num_rows // num_samples):
        for start in range(0, num_samples, size):
            first, last = view * num_samples, min(start + size, num_samples)
            part = slice(first + start, first + last)
            yield view, start, torch.tensordot(factors, for_uniform_prior(rows, priors, part), 1)
