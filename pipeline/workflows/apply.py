"""Rectified logits, probabilities and predictions, of a cache's split or of rows of others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marr_pipeline.cache import open_cache
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.files import FileName, listed
from marr_pipeline.names import SCALES
from marr_pipeline.notebook import short_repr
from marr_pipeline.rectify.prior.target import describe_prior
from marr_pipeline.rectify.prior.unlabelled import RectifiedRows
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.sets import CALIBRATES, LabelSets, SetSettings
from marr_pipeline.rectify.settings import check_choice
from marr_pipeline.workflows.arrays import ROW_SUFFIXES
from marr_pipeline.workflows.arrays.output import is_table, write_rows
from marr_pipeline.workflows.distribution import (
    TARGET_PRIOR,
    Said,
    check_exchangeable,
    class_shares,
    moved,
    recorded_prior,
    say_moved,
)
from marr_pipeline.workflows.given_rows import Arrays, GivenRows, cached_rows, file_rows
from marr_pipeline.workflows.sets import calibrated_sets, promise
from marr_pipeline.workflows.suited import rectifier_for
from marr_pipeline.workflows.unlabelled import RowShares, row_shares

_BLOCK_LOGITS = 2**20
"""Rectified at a time: 8 MiB in float64, and a few times that."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What a rectifier made of rows.

    Attributes:
        arrays: `logits` as given in shape and `probabilities`, float32; `predictions` without the
            last axis, int64; `labels` and `ids` where the source has them; `class_names` (K,);
            `sets` (..., K) bool, if they were asked for. Empty where they went into a file.
        num_rows: N.
        rectifier: that has made them, moved where a target prior was given.
        warnings: what of the rows needs a look.
        notes: what the sets promise, and what the shares of the rows stand on.
        shares: of the classes among the rows, if they were estimated or matched.
    """

    __repr__ = short_repr

    arrays: Arrays
    num_rows: int
    rectifier: Rectifier
    warnings: list[str]
    notes: list[str] = field(default_factory=list)
    shares: RowShares | None = None

    @property
    def prior(self) -> str:
        """Which class prior the probabilities stand for, in words."""
        return describe_prior(self.rectifier)

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline apply`."""
        return {
            "command": "apply",
            "method": self.rectifier.method,
            "rows": self.num_rows,
            "prior": recorded_prior(self.rectifier),
            "row_shares": None if self.shares is None else self.shares.record(),
            "warnings": self.warnings,
        }


def apply(
    source: FileName,
    rectifier: FileName,
    *,
    split: str = "test",
    scale: str | None = None,
    join: FileName | Sequence[FileName] = (),
    any_head: bool = False,
    sets: SetSettings | None = None,
    calibration: FileName | None = None,
    target_prior: Said | None = None,
    match_prior: Said | None = None,
    output: FileName | None = None,
    overwrite: bool = False,
) -> Applied:
    """Rectified rows of a cache's split, or of a file that `import` reads, labelled or not.

    Args:
        source: cache; or rows with logits (N, K) or (V, N, K), features where the rectifier needs
            them, and whatever else. Of a whole head features are enough.
        rectifier: written by `rectify`.
        split: of a cache; its clean view is taken.
        scale: of a file's scores, see `import_logits`.
        join: files with the features of the same rows by other backbones, whose columns come after
            those of the source, as `import_logits` joins them.
        any_head: accept a rectifier that was fitted on another head.
        sets: what a set of classes for each row is to hold; None to make none.
        calibration: cache whose split `tune` calibrates the sets; None for the source itself.
        target_prior: class shares where the rows are from, which the logits are moved to; None for
            the prior that the rectifier stands for. See `distribution`; `estimate` takes them from
            the rows, with the rectifier's calibration.
        match_prior: class shares that the rows are known to have; predictions are moved until their
            mean is these.
        output: where the arrays go, some rows at a time: `.npz`, or a table, `.csv` or `.parquet`,
            with a column of logits and one of probabilities for each class, and of sets `set` and
            `set_size`.
        overwrite: replace whatever file is at `output`, not such rows alone.

    Raises:
        CacheError: the source is invalid or lacks the split, or a split `tune` for sets.
        ConfigError: a scale or `join` for a cache, sets of a file of rows without `calibration` or
            the other way round, sets of moved logits, two priors, or the library that a file needs
            is not installed.
        DataError: the rectifier is invalid, of another head, or of other classes, or cannot be
            moved; the rows are unfit, or several views would go into a table.
        PipelineError: `output` cannot be written, or something else is there.
    """
    source, rectifier = Path(source), Path(rectifier)
    check_choice("scale", scale, (*SCALES, None))
    is_file = source.suffix.lower() in ROW_SUFFIXES
    _check_calibration(sets, calibration, source if is_file else None)
    check_exchangeable(sets, target_prior, match_prior)
    if is_file:
        found = file_rows((source, *map(Path, listed(join))), rectifier, split=split, scale=scale)
    else:
        if join:
            raise ConfigError(
                f"join: files of features beside a file of features expected, got {source}, a "
                "cache, which holds its own; leave them out"
            )
        if scale is not None:
            raise ConfigError(
                f"scale: none expected for {source}, a cache, which holds logits, got {scale}"
            )
        found = cached_rows(source, rectifier, split=split, any_head=any_head)
    try:
        shares = row_shares(
            RectifiedRows(found.rectifier, found.logits, found.features),
            target_prior,
            match_prior,
            class_counts=found.class_counts,
            class_names=found.class_names,
        )
        applied = _moved(found, target_prior) if shares is None else shares.rectifier
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    warnings, notes = found.warnings, list[str]()
    if shares is not None:
        warnings, notes = [*warnings, *shares.warnings()], shares.notes()
    elif target_prior is not None:
        is_open = found.rectifier.log_prior is None
        warnings = [*warnings, *say_moved([str(rectifier)] * is_open)]
    made = None
    if sets is not None:
        cached = open_cache(Path(calibration or source))
        if calibration is not None:
            rectifier_for(cached, rectifier, any_head=any_head)
        made, told = calibrated_sets(cached, found.rectifier, sets, name=str(rectifier))
        warnings = [*warnings, *told]
        notes = [promise(cached, sets, split=None if is_file or calibration else split)]
    blocks = _blocks(found, applied, made, where=str(source))
    arrays: Arrays = {}
    if output is not None:
        _write(Path(output), blocks, found, overwrite=overwrite)
    else:
        whole = list(blocks)
        arrays = {name: np.concatenate([block[name] for block in whole]) for name in whole[0]}
        if found.class_names is not None:
            arrays["class_names"] = np.array(found.class_names)
    return Applied(
        arrays=arrays,
        num_rows=found.num_rows,
        rectifier=applied,
        warnings=warnings,
        notes=notes,
        shares=shares,
    )


def _blocks(
    found: GivenRows, rectifier: Rectifier, sets: LabelSets | None, *, where: str
) -> Iterator[Arrays]:
    """What is made of the rows and passed on of them, some rows at a time; of views all at once."""
    step = max(1, _BLOCK_LOGITS // rectifier.num_classes)
    if found.logits.ndim == 3:
        step = found.num_rows
    for start in range(0, found.num_rows, step):
        rows = slice(start, start + step)
        features = None if found.features is None else found.features[..., rows, :]
        try:
            rectified = rectifier.apply(found.logits[..., rows, :], features)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        is_finite = rectified.isfinite().all(-1)
        if not bool(is_finite.all()):
            if found.cached is not None:
                found.cached[1].refuse_not_finite()
            row = start + int((~is_finite).nonzero()[0][-1])
            raise DataError(f"{where}: finite rectified logits expected, got others in row {row}")
        block = {name: each[rows] for name, each in found.kept.items()}
        block["logits"] = rectified.float().numpy()
        block["probabilities"] = rectified.softmax(-1).float().numpy()
        block["predictions"] = rectified.argmax(-1).numpy()
        if sets is not None:
            block["sets"] = sets.members(rectified).numpy()
        yield block
    if found.cached is not None:
        found.cached[0].require_unchanged()


def _write(output: Path, blocks: Iterator[Arrays], found: GivenRows, *, overwrite: bool) -> None:
    if is_table(output) and found.logits.ndim != 2:
        raise DataError(
            f"{output}: rows of one view expected in a table, got {len(found.logits)} views; "
            "write .npz, or give one view"
        )
    named = found.has_class_labels
    write_rows(output, blocks, found.class_names, names_labels=named, overwrite=overwrite)


def _check_calibration(
    sets: SetSettings | None, calibration: FileName | None, rows: Path | None
) -> None:
    """Refuse sets of a file of rows without rows to calibrate on, and such rows without sets."""
    if sets is None and calibration is not None:
        raise ConfigError(
            f"calibration: sets expected with it, got {calibration} alone; ask for them"
        )
    if sets is not None and calibration is None and rows is not None:
        raise ConfigError(
            f"sets: the cache whose split {CALIBRATES} calibrates them expected for {rows}, which "
            "is a file of rows, got none; give --calibration CACHE"
        )


def _moved(found: GivenRows, target_prior: Said | None) -> Rectifier:
    """The rectifier for the prior of the place where the rows are from."""
    if target_prior is None:
        return found.rectifier
    shares = class_shares(
        target_prior,
        found.class_counts,
        found.class_names,
        option=TARGET_PRIOR,
        num_classes=found.rectifier.num_classes,
    )
    return moved(found.rectifier, shares)
