"""Pixels to network input: divide by 255, subtract the mean, divide by the deviation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from marr_pipeline import protocols
from marr_pipeline.errors import ConfigError


@dataclass(frozen=True)
class Normalisation:
    """Per-channel mean and standard deviation of pixels in [0, 1], C values each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ConfigError(
                "normalisation: as many deviations as means expected, got "
                f"{len(self.std)} and {len(self.mean)}; give one of each a channel"
            )
        if not all(map(math.isfinite, self.mean)) or not all(0 < s < math.inf for s in self.std):
            raise ConfigError(
                "normalisation: finite means and positive deviations expected, got "
                f"{self.mean} and {self.std}; give the statistics of pixels in [0, 1]"
            )

    def of_channels(self, num_channels: int) -> "Normalisation":
        """The same for images of that many channels; a single mean stands for each of them.

        Raises:
            ConfigError: it is one of other channels.
        """
        if len(self.mean) == num_channels:
            return self
        if len(self.mean) > 1:
            raise ConfigError(
                f"normalisation: one mean, or one for each of {num_channels} channels, expected, "
                f"got {len(self.mean)}; give --normalisation dataset"
            )
        return Normalisation(self.mean * num_channels, self.std * num_channels)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Normalisation":
        """The one that `record` was made of."""
        return cls(tuple(record["mean"]), tuple(record["std"]))

    @property
    def text(self) -> str:
        """`MEAN/STD`, such as 0.485,0.456,0.406/0.229,0.224,0.225."""
        mean, std = (
            ",".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std)
        )
        return f"{mean}/{std}"

    def record(self) -> dict[str, object]:
        """The two lists as JSON values."""
        return {"mean": list(self.mean), "std": list(self.std)}


NORMALISATIONS = {name: Normalisation(*each) for name, each in protocols.NORMALISATIONS.items()}
"""By the names of `names.NORMALISATIONS`."""


UNMEASURED = Normalisation((0.0,) * 3, (1.0,) * 3)
"""Stands for the own statistics of images that are not decoded."""

IMAGES_PER_HISTOGRAM = 256


def normalise(images: Tensor, normalisation: Normalisation) -> Tensor:
    """Network input of `images` (N, C, H, W) uint8: float32, channels-last, on their device."""
    factor, shift = _factor_and_shift(normalisation, images.device)
    pixels = images.to(torch.float32, memory_format=torch.channels_last)
    return pixels.mul_(factor).sub_(shift)


@lru_cache(maxsize=8)
def _factor_and_shift(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """1 / (255 std) and mean / std (C, 1, 1); kept, since a copy to a GPU waits for it."""
    mean = torch.tensor(normalisation.mean)[:, None, None]
    std = torch.tensor(normalisation.std)[:, None, None]
    return (1.0 / (255.0 * std)).to(device), (mean / std).to(device)


def parse_normalisation(text: str) -> Normalisation:
    """The normalisation of a name, or of MEAN/STD such as `0.5,0.5,0.5/0.2,0.2,0.2` or `0/1`.

    Raises:
        ConfigError: it is neither, or no statistics of pixels in [0, 1].
    """
    if text in NORMALISATIONS:
        return NORMALISATIONS[text]
    mean, _, std = text.partition("/")
    try:
        means, deviations = (tuple(map(float, part.split(","))) for part in (mean, std))
    except ValueError as error:
        raise ConfigError(
            f"--normalisation: dataset, {', '.join(NORMALISATIONS)} or MEAN/STD expected, got "
            f"{text}; such as 0.485,0.456,0.406/0.229,0.224,0.225, or 0.5/0.5 for all channels"
        ) from error
    normalisation = Normalisation(means, deviations)
    if not all(0 <= value <= 1 for value in normalisation.mean):
        raise ConfigError(
            f"--normalisation: means of pixels in [0, 1] expected, got {mean}; divide means and "
            "deviations by 255"
        )
    return normalisation


def channel_statistics(images: Tensor) -> Normalisation:
    """Mean and deviation of every channel over all pixels of `images` (N, C, H, W) uint8.

    A channel with one value everywhere gets deviation 1, so that it becomes 0 and not NaN.
    Exact: computed from the histogram of the 256 values, so its result depends on neither
    the number of threads nor the order of the images.
    """
    values = torch.arange(256, dtype=torch.float64) / 255.0
    means, deviations = [], []
    for channel in images.unbind(1):
        # In parts: as integers, pixels take four to eight times their bytes.
        counts = torch.zeros(256, dtype=torch.int64)
        for start in range(0, len(channel), IMAGES_PER_HISTOGRAM):
            part = channel[start : start + IMAGES_PER_HISTOGRAM]
            counts += torch.bincount(part.flatten().int(), minlength=256)
        share = counts.double() / channel.numel()
        mean = float(share @ values)
        means.append(mean)
        is_constant = int((share > 0).sum()) == 1
        deviations.append(1.0 if is_constant else math.sqrt(float(share @ (values - mean) ** 2)))
    return Normalisation(tuple(means), tuple(deviations))
