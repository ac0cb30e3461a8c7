"""The product of phase two: what makes rectified logits, on any cache of the same head.

N samples, K classes, D features. z = logits (N, K), w = weight_norm (K,), m = z / w = margins, the
signed distance of each sample to each class plane (paper, equation 4). MARR's rectified logit of
class k is  w_k (omega_k m_k + beta_k) = omega_k z_k + beta_k w_k  (equations 8 to 10), affine in z:
one scale and one shift a class. The division by w cancels and is never done. Most methods come to
such K scales and K shifts; one that goes beyond them is a subclass with tensors of its own. What is
affine in the features can be folded into the linear head that made the logits, see `fold`.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.notebook import short_repr
from marr_pipeline.rectify.rows.source import unit_rows

CALIBRATED = ("scale", "shift", "log_prior")
"""The tensors of a calibration, which a file has under `calibration_` and these names."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """calibrated (N, K) = scale * rectified + shift, right on rows of known labels.

    Attributes:
        scale: () float64.
        shift: (K,) float64.
        log_prior: (K,) float64 logarithm of the class shares of those rows.
        split: where they are from.
        num_rows: how many they are.
        is_seen: whether the network was trained on them, and so is surer there than elsewhere.
    """

    __repr__ = short_repr

    scale: Tensor
    shift: Tensor
    log_prior: Tensor
    split: str
    num_rows: int
    is_seen: bool

    def after(self, change: Tensor) -> Self:
        """The same for rectified logits that were changed by so much (K,)."""
        return replace(self, shift=self.shift - self.scale * change)


@dataclass(frozen=True, kw_only=True)
class Rectifier:
    """rectified (N, K) = scale * logits + shift.

    Attributes:
        scale: (K,) float64.
        shift: (K,) float64.
        own: the method's own numbers, float64: for MARR `omega`, `beta`, `weight_norm`, (K,) each.
        log_prior: (K,) float64 logarithm of the class shares that the probabilities stand for;
            None where they are unknown.
        calibration: of its logits, if it was calibrated; else `metadata` says under `uncalibrated`
            why not, or nothing is known of it.
        metadata: method, settings, how the fit ended, and the fingerprints of cache and head.
    """

    __repr__ = short_repr

    scale: Tensor
    shift: Tensor
    own: Mapping[str, Tensor] = field(default_factory=dict)
    log_prior: Tensor | None = None
    calibration: Calibration | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.scale)

    @property
    def num_features(self) -> int | None:
        """D, the width of the features that `apply` needs; None if it needs none."""
        return None

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.metadata["method"])

    def apply(self, logits: Tensor | None, features: Tensor | None = None) -> Tensor:
        """Rectified logits (..., K) float64 of logits (..., K) and features (..., D)."""
        return affine_logits(_known_logits(logits), self.scale, self.shift)

    def centred(self) -> Self:
        """The same probabilities from shifts of mean 0, as averages of logits are compared."""
        return replace(self, shift=self.shift - self.shift.mean())

    def margin_norm(self, weight_norm: Tensor) -> Tensor:
        """(K,) by which a rectified logit is divided to give a margin."""
        return weight_norm

    def tensors(self) -> dict[str, Tensor]:
        """All of its numbers by name, as its file holds them."""
        parts = {name: getattr(self, name) for name in ("scale", "shift", *self.part_names())}
        known = {} if self.log_prior is None else {"log_prior": self.log_prior}
        if self.calibration is not None:
            known |= {f"calibration_{name}": getattr(self.calibration, name) for name in CALIBRATED}
        return {**parts, **known, **self.own}

    @classmethod
    def part_names(cls) -> list[str]:
        """The tensors of this kind beside `scale` and `shift`: what it cannot be made without."""
        shared = {each.name for each in fields(Rectifier)}
        return [
            each.name for each in fields(cls) if each.name not in shared and each.default is MISSING
        ]


@dataclass(frozen=True, kw_only=True)
class HeadRectifier(Rectifier):
    """rectified (N, K) = scale * (features @ weight.T + bias) + shift.

    Attributes:
        weight: (K, D) float64.
        bias: (K,) float64.
        normalise: `unit` if it takes rows of features brought to length 1.
    """

    __repr__ = short_repr

    weight: Tensor
    bias: Tensor
    normalise: Literal["none", "unit"] = "none"

    @property
    def num_features(self) -> int:
        """D."""
        return self.weight.shape[1]

    def apply(self, logits: Tensor | None, features: Tensor | None = None) -> Tensor:
        """Rectified logits (..., K) float64 of features (..., D); the old logits are not used."""
        known = _known_features(features, self.num_features)
        if self.normalise == "unit":
            known = unit_rows(known)
        return affine_logits(known @ self.weight.T + self.bias, self.scale, self.shift)

    def margin_norm(self, weight_norm: Tensor) -> Tensor:
        """(K,) norms of the new head's rows."""
        norm: Tensor = torch.linalg.vector_norm(self.weight, dim=1)
        return norm


@dataclass(frozen=True, kw_only=True)
class ConfidenceRectifier(Rectifier):
    """A mixture of new and old logits, by one confidence c a sample (DisAlign).

    rectified = logits + c * (scale * logits + shift - logits), with
    c = sigmoid(features . confidence_weight + confidence_bias).

    It cannot be folded into a linear head: c depends on the features, so the map is not affine in
    them.

    Attributes:
        confidence_weight: (D,) float64.
        confidence_bias: (1,) float64.
    """

    __repr__ = short_repr

    confidence_weight: Tensor
    confidence_bias: Tensor

    @property
    def num_features(self) -> int:
        """D."""
        return len(self.confidence_weight)

    def apply(self, logits: Tensor | None, features: Tensor | None = None) -> Tensor:
        """Rectified logits (..., K) float64 of logits (..., K) and features (..., D)."""
        logits = _known_logits(logits)
        new = affine_logits(logits, self.scale, self.shift)
        return mixed_logits(logits, new, self.raw_confidence(features))

    def raw_confidence(self, features: Tensor | None) -> Tensor:
        """Of which c is the sigmoid, (...,) float64, of features (..., D)."""
        features = _known_features(features, self.num_features)
        return features @ self.confidence_weight + self.confidence_bias


@dataclass(frozen=True, kw_only=True)
class FunctionRectifier(Rectifier):
    """rectified (N, K) = scale * function(logits, features) + shift; no file can hold it.

    Attributes:
        function: of logits (..., K) and features (..., D) or None, float64, to (..., K) float64.
        num_inputs: D of the features that it takes; None if it takes none.
    """

    __repr__ = short_repr

    function: Callable[[Tensor, Tensor | None], Tensor]
    num_inputs: int | None

    @property
    def num_features(self) -> int | None:
        """D."""
        return self.num_inputs

    def apply(self, logits: Tensor | None, features: Tensor | None = None) -> Tensor:
        """Rectified logits (..., K) float64 of logits (..., K) and features (..., D)."""
        given = None if self.num_inputs is None else _known_features(features, self.num_inputs)
        return affine_logits(self.function(_known_logits(logits), given), self.scale, self.shift)

    def margin_norm(self, weight_norm: Tensor) -> Tensor:
        """(K,) NaN: its classes have no planes that a sample could be away from."""
        return torch.full_like(weight_norm, torch.nan)


def affine_logits(logits: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The form every rectifier of the affine core has: scale (K,) * logits (N, K) + shift (K,)."""
    return scale * logits + shift


def mixed_logits(logits: Tensor, new: Tensor, raw_confidence: Tensor) -> Tensor:
    """logits + sigmoid(raw_confidence) * (new - logits): (..., K), one confidence (...) a row."""
    return torch.lerp(logits, new, torch.sigmoid(raw_confidence)[..., None])


def _known_logits(logits: Tensor | None) -> Tensor:
    """`logits` (..., K) in float64."""
    if logits is None:
        raise DataError(
            "logits: those of every sample expected, which this rectifier is made for, got none; "
            "give them too"
        )
    return logits.double()


def _known_features(features: Tensor | None, num_features: int) -> Tensor:
    """`features` (..., D) in float64."""
    if features is None:
        raise DataError(
            "features: those of every sample expected, since this rectifier is made of more than "
            "logits, got none; give them too"
        )
    if features.shape[-1] != num_features:
        raise DataError(
            f"features: {num_features} a sample expected, as in the rectifier, got "
            f"{features.shape[-1]}; was it fitted on another network?"
        )
    return features.double()
