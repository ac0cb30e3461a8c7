"""Whether a head makes these logits from these features, and if not, how they differ.

N samples, K classes, D features. A wrong head is the costliest mistake of an import: the fit would
run, and its margins would be another model's.
"""

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.convert import SplitArrays
from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.head import Head

Matrix = npt.NDArray[np.float64]

# Of the logits' size. bfloat16 arithmetic differs by 0.3 %, another head by tens of percent.
_TOLERANCE = 0.02
_CHECKED_ROWS = 128
_TINY = float(np.finfo(np.float32).tiny)  # in place of a size of 0


def check_head_makes_logits(head: Head, arrays: SplitArrays, *, where: str) -> None:
    """Compare logits with features @ weight.T + bias on rows spread over each view.

    Without features or a weight there is nothing to compare.

    Args:
        head: of K classes.
        arrays: the rows of a split, K classes.
        where: how the error names the split.

    Raises:
        CacheError: they differ by more than rounding; it says how.
    """
    if head.weight is None or arrays.features is None:
        return
    num_samples, num_features = arrays.features.shape[1:]
    if num_features != head.num_features:
        raise CacheError(
            f"{where}: features as wide as the head's weight ({head.num_features}) expected, got "
            f"{num_features}; give the input of the head"
        )
    rows = np.unique(np.linspace(0, num_samples - 1, _CHECKED_ROWS).astype(np.int64))
    weight = head.weight.astype(np.float64)
    for logits, features in zip(arrays.logits, arrays.features, strict=True):
        given = logits[rows].astype(np.float64)
        linear = features[rows].astype(np.float64) @ weight.T
        made = linear if head.bias is None else linear + head.bias
        tolerance = _TOLERANCE * max(_rms(given), _TINY)
        if _rms(given - made) > tolerance:
            row, column = np.unravel_index(np.abs(given - made).argmax(), made.shape)
            raise CacheError(
                f"{where}: logits = features @ weight.T + bias expected, got "
                f"{given[row, column]:.5g} instead of {made[row, column]:.5g} in row {rows[row]}, "
                f"class {column}; {_difference(given, linear, head, tolerance)}"
            )


def _difference(given: Matrix, linear: Matrix, head: Head, tolerance: float) -> str:
    """What would explain the logits (N, K) from features @ weight.T, in words."""
    rest = given - linear
    if _rms(rest) <= tolerance:
        return "they are made without the bias: leave it out, or give the logits with it"
    if _rms(rest - rest.mean(axis=0)) <= tolerance:
        given_bias = "lacks" if head.bias is None else "has another one"
        return f"a bias for each class explains them, but the head {given_bias}: give their own"
    made = linear if head.bias is None else linear + head.bias
    scale = float((given * made).sum()) / max(float((made * made).sum()), _TINY)
    if _rms(given - scale * made) <= tolerance:
        return f"they are {scale:.3g} times as large: give weight and bias that are scaled alike"
    order = _class_order(given, made, tolerance)
    if order is not None:
        column = int(np.flatnonzero(order != np.arange(len(order)))[0])
        return (
            f"the classes are in another order (class {column} of the logits is class "
            f"{order[column]} of the head): give both in one order"
        )
    return "they are of another model, or the features are not the head's input"


def _class_order(given: Matrix, made: Matrix, tolerance: float) -> npt.NDArray[np.intp] | None:
    """The head's class for each column of the logits, if its classes in that order make them."""
    one, other = (values - values.mean(axis=0) for values in (given, made))
    norms = np.linalg.norm(one, axis=0)[:, None] * np.linalg.norm(other, axis=0)
    order = (one.T @ other / np.maximum(norms, _TINY)).argmax(axis=1)
    return order if _rms(given - made[:, order]) <= tolerance else None


def _rms(values: Matrix) -> float:
    return float(np.sqrt(np.mean(values * values)))
