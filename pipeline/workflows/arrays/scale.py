"""Logits, log-probabilities and probabilities: what rows of scores are, and logits of them.

V views, N samples, K classes. Probabilities taken for logits go through a fit without an error and
give a wrong answer, so they are recognised by the share of rows that are so, whatever was rounded
and whatever a few rows hold. log p is a logit up to a constant of its row: no softmax sees it, but
a method that scales each class by itself does.
"""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache import first_not_finite, row_ranges
from marr_pipeline.errors import DataError

Scores = npt.NDArray[np.floating]

_STORED_AS_IS = (np.float16, np.float32)
_LEAST_SPREAD, _CONSTANT = 1e-4, 1e-12
"""Range of a column over its size: in less than the first float32 has under a thousand steps; less
than the second is a constant that was rounded."""
_ROUNDED = 0.05
"""What rounding may change of a row's sum: two decimals of ten classes, or bfloat16."""
_MOST, _MANY, _NEARLY_ALL = 0.5, 0.1, 0.95
"""Shares of rows that make all of them so, that are worth a word, and that make all of them so
where rows of logits may be so by chance."""
_SEEN_ROWS = 1000
_KINDS = {
    "one-hot": "one-hot rows (a single 1 in each)",
    "probabilities": "probabilities (all within 0..1, rows sum to 1)",
    "percentages": "percentages (all within 0..100, rows sum to 100)",
    "fractions": "sigmoids, cosines or rounded probabilities (all within 0..1)",
}
_REMEDIES = {
    "one-hot": "give the scores behind these predictions",
    "probabilities": "give the values before the softmax, or set scale to probabilities",
    "percentages": "give the values before the softmax, or divide by 100 and set scale to "
    "probabilities",
    "fractions": "give the values before the sigmoid or softmax, and cosines times their scale, or "
    "set scale to probabilities; to logits if they are",
}


def as_logits(
    scores: Scores, *, scale: str | None, floor: float | None = None, where: str
) -> tuple[Scores, list[str]]:
    """Logits (V, N, K) of scores, and what of it needs a look.

    Logits are given back as they are, without a copy. Scores (V, N, 1) of a binary classifier, for
    the second of its classes, stand for [0, z].

    Args:
        scores: (V, N, K) or (V, N, 1); large ones are read block by block.
        scale: one of `names.SCALES`; None takes logits, and refuses what looks like another.
        floor: least logarithm of a probability, so that a row does not depend on others; None for
            what these rows say.
        where: how errors name the scores.

    Raises:
        DataError: a number is not finite, or the scores are not what they are said to be.
    """
    if scores.shape[2] == 1:
        scores = _both_classes(scores, scale=scale, where=where)
    if scale in (None, "logits"):
        seen = Counter[str]()
        for rows in finite_blocks(scores, where=where):
            seen += _kinds(rows)
        return scores, [] if scale else _judged(seen, scores, where=where)
    return _logarithms(scores, is_log=scale == "log-probabilities", floor=floor, where=where)


def finite_blocks(values: Scores, *, where: str) -> Iterator[Scores]:
    """Blocks (B, W) of rows (V, N, W), as they would be stored: float32 or float16, all finite.

    Raises:
        DataError: a number is not finite; it names the row.
    """
    for _, _, block in _blocks(values, where=where):
        yield block


def lost_spread(values: Scores, *, where: str) -> list[str]:
    """A warning of columns of (V, N, W), float64, whose spread is lost in float32; empty if none.

    One pass over the rows, of float64 alone.
    """
    if values.dtype in _STORED_AS_IS:
        return []
    low = np.full(values.shape[2], np.inf)
    high = -low
    for view in values:
        for start, stop in row_ranges(len(view), view[0].nbytes):
            low = np.minimum(low, view[start:stop].min(0))
            high = np.maximum(high, view[start:stop].max(0))
    size = np.maximum(np.abs(low), np.abs(high))
    is_lost = (high - low < _LEAST_SPREAD * size) & (high - low > _CONSTANT * size)
    if not is_lost.any():
        return []
    return [
        f"{where}: {is_lost.sum()} of {len(size)} columns vary by less than {_LEAST_SPREAD:g} of "
        "their size, much of which is lost in float32, as they are stored; take the mean from each"
    ]


def _blocks(
    values: Scores, *, where: str, least: float = -math.inf
) -> Iterator[tuple[int, slice, Scores]]:
    """View, rows and block; `least` stands for minus infinity where that may occur."""
    stored = values.dtype if values.dtype in _STORED_AS_IS else np.dtype(np.float32)
    for view, rows in enumerate(values):
        for start, stop in row_ranges(len(rows), rows[0].nbytes):
            with np.errstate(over="ignore"):  # what overflows is refused here
                block = rows[start:stop].astype(stored, copy=False)
            if least > -math.inf:
                block = np.where(np.isneginf(block), np.float32(least), block)
            place = first_not_finite(block)
            if place is not None:
                row, column = place
                given = rows[start:stop][row, column]
                remedy = "remove or repair such rows"
                if np.isfinite(given):
                    remedy = f"{given:g} is beyond {stored.name}: scale all rows alike"
                raise DataError(
                    f"{where}: finite {stored.name} expected, got {block[row, column]} in row "
                    f"{start + row}{f' of view {view}' if len(values) > 1 else ''}; {remedy}"
                )
            yield view, slice(start, stop), block


def _kinds(rows: Scores) -> Counter[str]:
    """How many rows (B, K) are of each kind that is none of logits."""
    rows = rows[rows.min(axis=1) >= 0]  # one negative number settles it
    if not len(rows):
        return Counter()
    largest, sums = rows.max(axis=1), rows.sum(axis=1, dtype=np.float64)
    is_one_hot = (largest == 1) & (np.count_nonzero(rows, axis=1) == 1)
    is_probability = (largest <= 1) & (np.abs(sums - 1) <= _ROUNDED) & ~is_one_hot
    is_percentage = (largest <= 100) & (np.abs(sums - 100) <= 100 * _ROUNDED)
    found = {
        "one-hot": is_one_hot,
        "probabilities": is_probability,
        "percentages": is_percentage,
        "fractions": (largest <= 1) & ~is_one_hot & ~is_probability,
    }
    return Counter({kind: int(count) for kind, each in found.items() if (count := each.sum())})


def _judged(seen: Counter[str], scores: Scores, *, where: str) -> list[str]:
    """A warning of rows that are no logits, if they are many."""
    num_rows = scores.shape[0] * scores.shape[1]
    # Probabilities that were rounded have one-hot rows among them, and the other way round.
    count = seen["one-hot"] + seen["probabilities"]
    kind = "probabilities" if seen["probabilities"] else "one-hot"
    if seen["percentages"] > count:
        kind, count = "percentages", seen["percentages"]
    if count <= _MOST * num_rows and count + seen["fractions"] > _NEARLY_ALL * num_rows:
        kind, count = "fractions", count + seen["fractions"]
    if count > _MOST * num_rows:
        raise DataError(
            f"{where}: logits expected, got what looks like {_KINDS[kind]} in {count:,} of "
            f"{num_rows:,} rows; {_REMEDIES[kind]}"
        )
    if count > _MANY * num_rows:
        return [f"{where}: {count:,} of {num_rows:,} rows look like {_KINDS[kind]}"]
    return []


def _both_classes(scores: Scores, *, scale: str | None, where: str) -> Scores:
    """Scores (V, N, 2) of both classes, in the same scale."""
    if bool((scores == np.round(scores)).all()):
        raise DataError(
            f"{where}: a number for each class, or the score of a binary classifier, expected, got "
            "whole numbers in a single column; give scores, not the predicted class"
        )
    for kind, most in (("probabilities", 1), ("percentages", 100)):
        count = int(((scores >= 0) & (scores <= most)).sum())
        if scale is None and count > _NEARLY_ALL * scores.size:
            raise DataError(
                f"{where}: logits expected, got what looks like {kind} of the second class (within "
                f"0..{most} in {count:,} of {scores.size:,} rows); give the values before the "
                "sigmoid, or probabilities and set scale to them"
            )
    return of_both_classes(scores, scale)


def of_both_classes(scores: Scores, scale: str | None) -> Scores:
    """(V, N, 2) of scores (V, N, 1) of the second class, in the same scale."""
    if scale in (None, "logits"):
        return np.concatenate([np.zeros_like(scores), scores], axis=2)
    if scale == "probabilities":
        return np.concatenate([1 - scores, scores], axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):  # refused with the rest if it is none
        return np.concatenate([np.log1p(-np.exp(scores)), scores], axis=2)


def _logarithms(
    scores: Scores, *, is_log: bool, floor: float | None, where: str
) -> tuple[Scores, list[str]]:
    """log p (V, N, K) float32 of (log-)probabilities; an exact 0 becomes half the least of others,
    or where there is a floor that, as whatever lies below it.
    """
    smallest, num_zeros, num_rows, num_certain = math.inf, 0, 0, 0
    tolerance = _ROUNDED if is_log else max(_ROUNDED, _rounding(scores[0, :_SEEN_ROWS]))
    impossible = -math.inf if not is_log else float(np.finfo(np.float16).min)
    for view, place, rows in _blocks(scores, where=where, least=impossible):
        with np.errstate(over="ignore"):
            values = np.exp(rows, dtype=np.float64) if is_log else rows
        sums = values.sum(axis=1, dtype=np.float64)
        is_wrong = (np.abs(sums - 1) > tolerance) | (values.min(axis=1) < 0)
        if is_wrong.any():
            row = int(is_wrong.argmax())
            kind = "log-probabilities" if is_log else "probabilities"
            sign = ", with a number below 0" if values[row].min() < 0 else ""
            raise DataError(
                f"{where}: {kind} that sum to 1 in each row expected, got {sums[row]:.4g} in row "
                f"{place.start + row}{f' of view {view}' if len(scores) > 1 else ''}{sign} "
                f"({int(is_wrong.sum()):,} of {len(rows):,} rows here are so); "
                "are these logits, or of other classes too?"
            )
        is_zero = rows <= impossible if is_log else rows == 0
        if not is_zero.all():
            smallest = min(smallest, float(rows[~is_zero].min()))
        num_zeros += int(is_zero.sum())
        num_rows += int(is_zero.any(axis=1).sum())
        num_certain += int((is_zero.sum(axis=1) == rows.shape[1] - 1).sum())
    total = scores.shape[0] * scores.shape[1]
    if num_certain == total and floor is None:
        raise DataError(
            f"{where}: probabilities expected, got {_KINDS['one-hot']}; {_REMEDIES['one-hot']}"
        )
    is_given = floor is not None
    if floor is None:
        floor = (smallest if is_log else math.log(smallest)) - math.log(2)
    logits = np.empty(scores.shape, np.float32)
    for view, place, rows in _blocks(scores, where=where, least=impossible):
        with np.errstate(divide="ignore"):
            logs = rows if is_log else np.log(rows, dtype=np.float64)
        logits[view, place] = np.maximum(logs, floor)
    if not num_zeros or is_given:
        return logits, []
    return logits, [
        f"{where}: {num_zeros:,} probabilities in {num_rows:,} of {total:,} rows are exactly 0; "
        f"{math.exp(floor):.2g} was taken, half the smallest of the others"
    ]


def _rounding(rows: Scores) -> float:
    """What the sums of rows (B, K) may be off where all numbers were rounded to few decimals."""
    for decimals in range(1, 5):
        if np.allclose(rows, np.round(rows, decimals), rtol=0, atol=1e-7):
            return float(rows.shape[1] * 0.5 * 10.0**-decimals)
    return 0.0
