"""The product of phase two: what makes rectified logits, on any cache of the same head.

Most are K scales and K shifts. A method that goes beyond them is a subclass with tensors of its
own, which its file holds beside `scale` and `shift`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from safetensors.torch import save
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.files import replacing
from marr_pipeline.rectify.margins import affine_logits

FORMAT = "marr-rectifier"
FORMAT_VERSION = "1.0"


@dataclass(frozen=True, kw_only=True)
class Rectifier:
    """rectified (N, K) = scale * logits + shift.

    Attributes:
        scale: (K,) float64.
        shift: (K,) float64.
        own: the method's own numbers, float64: for MARR `omega`, `beta`, `weight_norm`, (K,) each.
        metadata: method, settings, how the fit ended, and the fingerprints of cache and head.
    """

    scale: Tensor
    shift: Tensor
    own: Mapping[str, Tensor] = field(default_factory=dict)
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

    def apply(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Rectified logits (..., K) float64 of logits (..., K) and features (..., D)."""
        return affine_logits(logits.double(), self.scale, self.shift)

    def centred(self) -> Self:
        """The same probabilities from shifts of mean 0, as averages of logits are compared."""
        return replace(self, shift=self.shift - self.shift.mean())

    def margin_norm(self, weight_norm: Tensor) -> Tensor:
        """(K,) by which a rectified logit is divided to give a margin."""
        return weight_norm

    def save(self, path: Path) -> None:
        """Write a `.safetensors` file, complete or not at all."""
        tensors = {"scale": self.scale, "shift": self.shift, **self._parts(), **self.own}
        header = {"format": FORMAT, "format_version": FORMAT_VERSION}
        header |= {key: json.dumps(value) for key, value in self.metadata.items()}
        content = save({name: value.contiguous() for name, value in tensors.items()}, header)
        with replacing(path) as partial:
            partial.write_bytes(content)

    def _parts(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.part_names()}

    @classmethod
    def part_names(cls) -> list[str]:
        """The tensors of this kind beside `scale` and `shift`."""
        shared = {each.name for each in fields(Rectifier)}
        return [each.name for each in fields(cls) if each.name not in shared]


def known_features(features: Tensor | None, num_features: int) -> Tensor:
    """`features` (..., D) in float64.

    Raises:
        DataError: there are none, or of another width.
    """
    if features is None:
        raise DataError(
            "features: those of every sample expected, since this rectifier is made of more than "
            "logits, got none; extract or import them too"
        )
    if features.shape[-1] != num_features:
        raise DataError(
            f"features: {num_features} a sample expected, as in the rectifier, got "
            f"{features.shape[-1]}; was it fitted on another network?"
        )
    return features.double()
