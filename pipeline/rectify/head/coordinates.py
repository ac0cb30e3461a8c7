"""The coordinates that a head is fitted in: features as they are, of length 1, or standardised.

R rows, D features z, mean m and deviation d over the rows. Standardised they are
x = (z - m) / (d sqrt(D)), 0 where d is 0, so that rows have a mean square of at most 1, as rows of
length 1 have: a ridge of one strength means the same under both. A head [W b] on x is the head
[W / (d sqrt(D)), b - W m / (d sqrt(D))] on z, exactly; one on rows of length 1 is none on z.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.rows.source import HELD_ROWS, FeatureRows
from marr_pipeline.rectify.settings import Normalise

ROUNDING = 1e-12
"""Of a feature's size: one that varies by less is a constant whose mean was rounded."""


LEAST_SQUARE = 1e-20
"""Mean of |x|^2, and one over the largest: beyond, squares of it leave float32's range."""


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """Rows as a head sees them, and the way back.

    Attributes:
        rows: x, R rows of D.
        shift: m (D,) float64; None where nothing is standardised.
        factor: 1 / (d sqrt(D)) (D,) float64, 0 where d is 0; with `shift`.
        unit: whether rows are brought to length 1.
        mean_square: mean of |x|^2 over the rows; 1 where all of them are 0.
    """

    rows: FeatureRows
    shift: Tensor | None = None
    factor: Tensor | None = None
    unit: bool = False
    mean_square: float = 1.0

    def of(self, features: Tensor) -> FeatureRows:
        """Other features (M, D) in the same coordinates."""
        return FeatureRows(features, mean=self.shift, inverse_deviation=self.factor, unit=self.unit)

    def on_features(self, head: Tensor) -> Tensor:
        """The head (K, D + 1) on z, or on z of length 1, of one on x."""
        if self.shift is None or self.factor is None:
            return head.clone()
        weight = head[:, :-1] * self.factor
        return torch.cat([weight, head[:, -1:] - (weight @ self.shift)[:, None]], 1)

    def on_rows(self, head: Tensor) -> Tensor:
        """The head (K, D + 1) on x of one on z; a feature that does not vary gets weight 0."""
        if self.shift is None or self.factor is None:
            return head.clone()
        bias = head[:, -1:] + (head[:, :-1] @ self.shift)[:, None]
        inverse = torch.where(self.factor > 0, 1 / self.factor, 0.0)
        return torch.cat([head[:, :-1] * inverse, bias], 1)


def coordinates_of(
    features: Tensor, normalise: Normalise, *, most_bytes: int, picked: Tensor | None = None
) -> Coordinates:
    """Those of a normalisation over rows of features.

    Args:
        features: (N, D), as stored.
        normalise: `none`, `unit` or `standard`.
        most_bytes: that the normalised rows may take in memory; more are made anew for each pass.
        picked: (R,) int64 rows; None for all.

    Raises:
        DataError: the features are too large or too small to be taken as they are, or vary by too
            little or too much to be standardised in their precision.
    """
    if normalise != "standard":
        unit = normalise == "unit"
        rows = FeatureRows(features, picked=picked, unit=unit).held(most_bytes)
        _, square = _moments(rows)
        total = float(square.sum())
        if total and not LEAST_SQUARE <= total <= 1 / LEAST_SQUARE:
            raise DataError(
                f"features: rows of a length from {LEAST_SQUARE**0.5:g} to "
                f"{LEAST_SQUARE**-0.5:g} expected with normalise {normalise}, got "
                f"{total**0.5:.1e}; use unit or standard, or scale them"
            )
        return Coordinates(rows=rows, unit=unit, mean_square=total if total > 0 else 1.0)
    stored = FeatureRows(features, picked=picked)
    mean, _ = _moments(stored)
    # As the rows have it: what is subtracted from them is what the way back adds.
    mean = mean.to(stored.precision).double()
    one = torch.ones_like(mean)
    _, square = _moments(_standardised(features, picked, mean, one))
    rounding = max(torch.finfo(stored.precision).eps, ROUNDING)
    varies = square.sqrt() > rounding * mean.abs()
    factor = torch.where(varies, 1 / (square.sqrt() * len(mean) ** 0.5), 0.0)
    factor = factor.to(stored.precision).double()
    if not bool((varies == (factor.isfinite() & (factor > 0))).all()):
        name = str(stored.precision).removeprefix("torch.")
        raise DataError(
            f"features: deviations that {name} has an inverse of expected with normalise standard, "
            f"got {float(square[varies].min().sqrt()):.1e} to {float(square.max().sqrt()):.1e}; "
            "scale them"
        )
    rows = _standardised(features, picked, mean, factor).held(most_bytes)
    share = float(varies.double().mean())
    return Coordinates(rows=rows, shift=mean, factor=factor, mean_square=share or 1.0)


def _standardised(
    features: Tensor, picked: Tensor | None, mean: Tensor, factor: Tensor
) -> FeatureRows:
    return FeatureRows(features, picked=picked, mean=mean, inverse_deviation=factor)


def _moments(rows: FeatureRows) -> tuple[Tensor, Tensor]:
    """Mean (D,) and mean square (D,) of each feature, float64 on the CPU."""
    sums = torch.zeros((2, rows.num_features), dtype=torch.float64, device=rows.device)
    for start in range(0, rows.num_rows, HELD_ROWS):
        block = rows.block(slice(start, start + HELD_ROWS), torch.float64)
        sums[0] += block.sum(0)
        sums[1] += block.square().sum(0)
    mean, square = (sums / rows.num_rows).cpu()
    return mean, square
