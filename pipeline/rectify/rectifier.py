"""The product of phase two: K scales and K shifts that serve any cache of the same head."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.errors import DataError
from pipeline.files import replacing
from pipeline.rectify.margins import affine_logits

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
    def method(self) -> str:
        """The method's name."""
        return str(self.metadata["method"])

    def apply(self, logits: Tensor) -> Tensor:
        """Rectified logits (..., K) float64."""
        return affine_logits(logits.double(), self.scale, self.shift)

    def save(self, path: Path) -> None:
        """Write a `.safetensors` file, complete or not at all."""
        tensors = {"scale": self.scale, "shift": self.shift, **self.own}
        header = {"format": FORMAT, "format_version": FORMAT_VERSION}
        header |= {key: json.dumps(value) for key, value in self.metadata.items()}
        content = save({name: value.contiguous() for name, value in tensors.items()}, header)
        with replacing(path) as partial:
            partial.write_bytes(content)


def load_rectifier(path: Path) -> Rectifier:
    """Read what `Rectifier.save` wrote.

    Raises:
        DataError: not a rectifier, of a newer major version, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise DataError(
            f"{path}: a rectifier written by `pipeline rectify -o` expected, got {error}"
        ) from error
    if header.pop("format", None) != FORMAT:
        raise DataError(
            f"{path}: a rectifier written by `pipeline rectify -o` expected, "
            f"got a safetensors file with {', '.join(sorted(tensors)) or 'nothing'}"
        )
    version = header.pop("format_version")
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise DataError(
            f"{path}: format version {FORMAT_VERSION} expected, got {version}; "
            "update this program or fit again"
        )
    scale, shift = tensors.pop("scale"), tensors.pop("shift")
    if not bool(torch.isfinite(scale).all() and torch.isfinite(shift).all()):
        raise DataError(f"{path}: finite scales and shifts expected; fit again")
    metadata = {key: json.loads(value) for key, value in header.items()}
    return Rectifier(scale=scale, shift=shift, own=tensors, metadata=metadata)
