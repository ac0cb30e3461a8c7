"""How a training runs on its machines, as far as that changes its numbers by rounding alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Kept in a checkpoint's provenance and never compared: a resumed run may change it.

    Attributes:
        channels_last: images as (N, H, W, C) in memory, for which most kernels are faster.
        compile: translate the network by torch.compile; takes a minute or more at the start.
        ranks: the processes that share every batch.
    """

    channels_last: bool = True
    compile: bool = False
    ranks: Ranks = ALONE

    @property
    def memory_format(self) -> torch.memory_format:
        """Of weights and images."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def record(self) -> dict[str, str]:
        """What a checkpoint's provenance says of it."""
        layout = "channels last" if self.channels_last else "channels first"
        return {
            "memory": layout,
            "compiled": "yes" if self.compile else "no",
            "processes": str(self.ranks.size),
        }


def check_compiler(device: torch.device) -> None:
    """Translate the smallest program of all, to find out before anything starts.

    Raises:
        ConfigError: there is no working compiler for the device.
    """
    try:
        torch.compile(_increment)(torch.zeros(1, device=device))
    except Exception as error:  # torch's own classes for it are private and change
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            f"--compile: a working compiler for {device.type} expected, got: {reason}; install one "
            "(g++ for a CPU, triton for a GPU) or leave --compile out"
        ) from error


def _increment(values: Tensor) -> Tensor:
    return values + 1
