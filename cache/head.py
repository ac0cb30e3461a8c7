"""The linear head that made the logits, as far as it is known.

K classes, D features. logits = features @ weight.T + bias; weight_norm_j = |weight_j|.
For a normalised head the rows are the effective ones: what multiplies the normalised feature, which
is what a cache of that network holds. A head of `normalise` "unit" divides the features that are
stored by their norms itself.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.fingerprint import digest

Normalisation = Literal["none", "unit"]
"""What is done to a row of features before the head: nothing, or it is divided by its L2 norm."""

_HALF_EXPONENT = np.uint16(0x7C00)
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """A head whose arrays agree with each other and are finite.

    Attributes:
        weight_norm: (K,) float64, L2 norm of each row of the weight.
        weight: (K, D) float32 or float64, where known.
        bias: (K,) float32 or float64, where the head has one and it is known.
        prior_counts: (K,) float64, the class counts that phase one trained on, where known.
        normalise: what is done to a row of features before the head.

    Raises:
        CacheError: a shape, a type or a value is not of this kind.
    """

    weight_norm: npt.NDArray[np.float64]
    weight: npt.NDArray[np.floating] | None = None
    bias: npt.NDArray[np.floating] | None = None
    prior_counts: npt.NDArray[np.float64] | None = None
    normalise: Normalisation = "none"

    def __post_init__(self) -> None:
        if self.normalise not in get_args(Normalisation):
            raise CacheError(
                f"head.normalise: one of {', '.join(get_args(Normalisation))} expected, got "
                f"{self.normalise!r}; update this program, or write the cache again"
            )
        if self.weight_norm.ndim != 1 or len(self.weight_norm) == 0:
            raise CacheError(
                f"head.weight_norm: shape (K,) expected, got {self.weight_norm.shape}; "
                "give one norm for each class"
            )
        for name, array in self.arrays().items():
            _check_array(name, array, self.num_classes)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.weight_norm)

    @property
    def num_features(self) -> int | None:
        """D, where the weight is known."""
        return None if self.weight is None else int(self.weight.shape[1])

    def arrays(self) -> dict[str, npt.NDArray[np.floating]]:
        """The arrays that exist, by their name in the file."""
        named = {
            "weight_norm": self.weight_norm,
            "weight": self.weight,
            "bias": self.bias,
            "prior_counts": self.prior_counts,
        }
        return {name: array for name, array in named.items() if array is not None}

    def fingerprint(self) -> str:
        """SHA-256 over weight_norm, weight and bias, as far as they exist, and `unit`, if it is so.

        Prior counts are no part: a fitted rectifier serves any cache with the same planes.
        """
        sha = hashlib.sha256()
        for name, array in self.arrays().items():
            if name != "prior_counts":
                sha.update(f"{name}:{digest(array)};".encode())
        if self.normalise != "none":
            sha.update(f"normalise:{self.normalise};".encode())
        return sha.hexdigest()

    @classmethod
    def from_linear(
        cls,
        weight: npt.NDArray[np.floating],
        bias: npt.NDArray[np.floating] | None,
        prior_counts: npt.ArrayLike | None = None,
        *,
        normalise: Normalisation = "none",
    ) -> "Head":
        """Head of a linear layer; its norms are computed in float64.

        Args:
            weight: (K, D); kept as it is if float32 or float64, else turned into float32.
            bias: (K,) or None.
            prior_counts: (K,) or None.
            normalise: what is done to a row of features before it.

        Raises:
            CacheError: shapes disagree or a value is not finite.
        """
        if weight.ndim != 2:
            raise CacheError(
                f"head.weight: shape (K, D) expected, got {weight.shape}; "
                "give the weight of a linear layer"
            )
        return cls(
            weight_norm=np.linalg.norm(weight.astype(np.float64), axis=1),
            weight=_as_float(weight),
            bias=None if bias is None else _as_float(bias),
            prior_counts=None if prior_counts is None else np.asarray(prior_counts, np.float64),
            normalise=normalise,
        )


def head_fingerprint(head: Head | None, *, num_classes: int, num_features: int | None) -> str:
    """Of a head's planes; without one, of there being none for K classes on D features.

    So a head that was fitted on features serves every cache of as many features and classes.
    """
    if head is not None:
        return head.fingerprint()
    return hashlib.sha256(f"no head;{num_classes};{num_features};".encode()).hexdigest()


def _as_float(array: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return array if array.dtype in _FLOATS else array.astype(np.float32)


def _check_array(name: str, array: npt.NDArray[np.floating], num_classes: int) -> None:
    shape = f"({num_classes}, D)" if name == "weight" else f"({num_classes},)"
    if array.ndim != (2 if name == "weight" else 1) or len(array) != num_classes:
        raise CacheError(
            f"head.{name}: shape {shape} expected, got {array.shape}; "
            "are head and logits of the same model?"
        )
    allowed = _FLOATS if name in ("weight", "bias") else _FLOATS[1:]
    if array.dtype not in allowed:
        names = " or ".join(dtype.name for dtype in allowed)
        raise CacheError(f"head.{name}: {names} expected, got {array.dtype}; convert it first")
    place = first_not_finite(array)
    if place is not None:
        raise CacheError(
            f"head.{name}: finite values expected, got {array[place]} for class {place[0]}; "
            "was the model trained to its end?"
        )
    if name in ("weight_norm", "prior_counts") and (array < 0).any():
        row = int(np.argmax(array < 0))
        raise CacheError(
            f"head.{name}: values of at least 0 expected, got {array[row]} for class {row}; "
            "correct the file it came from"
        )
    if name == "prior_counts" and not array.any():
        raise CacheError(
            "head.prior_counts: samples of at least one class expected, got zeros alone; "
            "correct the file it came from"
        )


def first_not_finite(values: npt.NDArray[np.floating]) -> tuple[int, ...] | None:
    """Index of the first infinity or NaN, one number an axis; None if all are finite."""
    if values.dtype == np.float16:  # whose `isfinite` is six times slower than a look at its bits
        is_finite = (values.view(np.uint16) & _HALF_EXPONENT) != _HALF_EXPONENT
    else:
        is_finite = np.isfinite(values)
    if is_finite.all():
        return None
    return tuple(np.argwhere(~is_finite)[0].tolist())
