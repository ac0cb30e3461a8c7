"""What `apply` does with the class shares of unlabelled rows: estimate them, or match known ones.

Both move every row by the same K numbers. An estimate needs probabilities that are right under some
prior, so it starts from the rectifier's calibration. Matching takes the shares for known and moves
predictions until they come out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from marr_pipeline.labels import shown
from marr_pipeline.names import ESTIMATE
from marr_pipeline.rectify.inputs import LEFT_OUT
from marr_pipeline.rectify.prior.calibration import check_shiftable
from marr_pipeline.rectify.prior.estimate import PriorEstimate
from marr_pipeline.rectify.prior.match import matching_shift
from marr_pipeline.rectify.prior.unlabelled import RectifiedRows, with_estimated_prior
from marr_pipeline.rectify.rectifier import Calibration, Rectifier
from marr_pipeline.rectify.sets import CALIBRATES
from marr_pipeline.report.population import Counts
from marr_pipeline.report.tables import Column, Estimate, Table, terminal_table
from marr_pipeline.workflows.distribution import (
    MATCH_PRIOR,
    TARGET_PRIOR,
    Said,
    class_shares,
    recorded,
)

SHOWN = 10
"""Of many classes."""
ESTIMATED = (
    "Of all rows, in per cent, [ ] 95 %; rows behind: labelled rows of the class that would tell "
    "its share as well."
)
FEW_ROWS = 10.0
"""Labelled rows of a class that would tell its share as well, below which it is a guess: its error
is then a third of it."""
FEW_ROWS_IN_ALL = 100.0

_SHARE = "share"
COLUMNS = (
    Column(key="before", heading="predicted before"),
    Column(key=_SHARE, heading="share", has_interval=True),
    Column(key="rows", heading="rows behind", notation="count"),
)


@dataclass(frozen=True, kw_only=True)
class RowShares:
    """The class shares that rows were moved to.

    Attributes:
        option: that asked for it.
        rectifier: moved to them.
        before: (K,) mean prediction before.
        shares: (K,) mean prediction afterwards.
        estimate: of the shares; None where they were given.
        class_names: (K,), where there are some.
        calibration: that an estimate started from; None where the shares were given.
    """

    option: str
    rectifier: Rectifier
    before: Tensor
    shares: Tensor
    estimate: PriorEstimate | None
    class_names: Sequence[str] | None
    calibration: Calibration | None = None

    def notes(self) -> list[str]:
        """What was assumed, for the terminal."""
        found = self.estimate
        if found is None:
            note = (
                "predictions were moved until their mean was the shares given, on the word that "
                "these rows have them; where they do not, that ruins predictions"
            )
        else:
            note = (
                f"{found.num_samples:,} rows tell the shares as well as "
                f"{found.effective_rows:,.0f} labelled ones would, if each class's samples are "
                "like those that the rectifier was calibrated on"
            )
        return [f"{self.option}: {note}"]

    def warnings(self) -> list[str]:
        """What a reader should not take for known."""
        return [f"{self.option}: {doubt}" for doubt in self._doubts()]

    def _doubts(self) -> Iterator[str]:
        """What may be wrong with an estimate; shares that were given are taken on trust."""
        found, known = self.estimate, self.calibration
        if found is None or known is None:
            return
        if known.is_seen:
            yield (
                "calibrated on rows that the network was trained on, where it is surer than on new "
                "ones; a tune split would be free of that"
            )
        elif known.split != CALIBRATES:
            yield (
                f"calibrated on held-out rows of split {known.split}; where these are folds, and "
                "the logits here the whole model's, intervals are too narrow: they do not know how "
                "the two differ"
            )
        rows_of_class = known.log_prior.exp() * known.num_rows
        absent = (rows_of_class < 0.75).nonzero()[:, 0].tolist()  # one that has none counts half
        if absent:
            yield (
                f"the calibration has no row of {self._classes(absent)}: their shares here cannot "
                "be told, whatever their intervals; calibrate on rows of every class"
            )
        if not found.is_solved:
            yield (
                f"stopped with up to {found.gap_bound:.1e} of likelihood a row left to gain; the "
                "shares are near the best, not at it"
            )
        if found.effective_rows < FEW_ROWS_IN_ALL:
            yield (
                f"as little is told of the shares as {found.effective_rows:.0f} labelled rows "
                "would; give shares that are known, or more rows"
            )
        few = ((found.rows_behind < FEW_ROWS) & (found.shares > 0)).nonzero()[:, 0].tolist()
        if few:
            classes = self._classes(few)
            yield f"fewer than {FEW_ROWS:.0f} rows stand behind the share of {classes}"
        none = (found.shares == 0).nonzero()[:, 0].tolist()
        if none:
            yield f"no row speaks for {self._classes(none)}: half a row is counted"

    def table(self) -> str:
        """Every class in order; of many those whose share moves most."""
        num_classes = len(self.shares)
        chosen, few = list(range(num_classes)), ""
        if num_classes > SHOWN:
            by_move = (self.shares - self.before).abs().argsort(descending=True, stable=True)
            chosen = by_move[:SHOWN].tolist()
            few = f" The {SHOWN} of {num_classes:,} classes whose share moves most; --json has all."
        rows = {}
        for place, name in zip(chosen, self._names(chosen), strict=True):
            interval, behind = None, {}
            if self.estimate is not None:
                interval = (float(self.estimate.low[place]), float(self.estimate.high[place]))
                behind = {"rows": Estimate(value=float(self.estimate.rows_behind[place]))}
            share = Estimate(value=float(self.shares[place]), interval=interval)
            before = Estimate(value=float(self.before[place]))
            rows[name] = {"before": before, _SHARE: share, **behind}
        caption = "Of all rows, in per cent." if self.estimate is None else ESTIMATED
        columns = COLUMNS if self.estimate is not None else COLUMNS[:-1]
        return terminal_table(Table(columns=columns, rows=rows, caption=caption + few))

    def record(self) -> dict[str, Any]:
        """For JSON."""
        told = {} if self.estimate is None else self.estimate.record()
        return {
            "option": self.option,
            "before": self.before.tolist(),
            "shares": self.shares.tolist(),
            "estimate": told or None,
        }

    def _classes(self, places: Sequence[int]) -> str:
        """How many they are, and which."""
        return f"{len(places):,} class{'es' * (len(places) > 1)} ({shown(self._names(places))})"

    def _names(self, places: Sequence[int]) -> list[str]:
        names = self.class_names
        return [str(place) if names is None else str(names[place]) for place in places]


def row_shares(
    rows: RectifiedRows,
    target_prior: Said | None,
    match_prior: Said | None,
    *,
    class_counts: Counts | None,
    class_names: Sequence[str] | None,
) -> RowShares | None:
    """What the rows are asked or told of their classes; None where neither is wanted.

    Asked, by maximum likelihood from the rectifier's calibration; told, until the mean prediction
    is the shares given.

    Args:
        rows: by the rectifier as it was read.
        target_prior: `estimate` to ask; other shares are known and ask nothing.
        match_prior: shares that the rows have.
        class_counts: (K,) of training, if they are known.
        class_names: (K,), where the classes have names.

    Raises:
        DataError: a logit is not finite, the rectifier has no calibration to ask by, or there are
            no such shares, or none to which `matching_shift` can bring the rows.
    """
    rectifier = rows.rectifier
    known = rectifier.calibration
    if isinstance(target_prior, str) and target_prior == ESTIMATE:
        moved, found = with_estimated_prior(rows)
        return RowShares(
            option=f"{TARGET_PRIOR} {ESTIMATE}",
            rectifier=moved,
            before=rows.mean_prediction(),
            shares=found.shares,
            estimate=found,
            class_names=class_names,
            calibration=known,
        )
    if match_prior is None:
        return None
    check_shiftable(rectifier)
    given = class_shares(
        match_prior,
        class_counts,
        class_names,
        option=MATCH_PRIOR,
        num_classes=rectifier.num_classes,
    )
    shares = torch.from_numpy(given)
    shift = matching_shift(rows, shares)
    return RowShares(
        option=f"{MATCH_PRIOR} {recorded(match_prior)}",
        rectifier=replace(
            rectifier,
            shift=rectifier.shift + shift,
            log_prior=shares.log().clamp(min=LEFT_OUT),
            calibration=None if known is None else known.after(shift),
        ),
        before=rows.mean_prediction(),
        shares=shares,
        estimate=None,
        class_names=class_names,
    )
