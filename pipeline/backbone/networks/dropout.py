"""Dropout as a function of seed and step, though its layers draw from torch's global generators."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

DROPOUT_STREAM = 4
"""Last word of the seed; the hold-out has 1, the order of the images 3."""


@contextmanager
def borrowed_generators(device: torch.device) -> Iterator[None]:
    """Within the block the global generators may be seeded; afterwards they are as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def seed_dropout(seed: int, step: int, device: torch.device, *, rank: int = 0) -> None:
    """Make what layers draw in this step, such as dropout, depend on (seed, step, rank) alone.

    A layer draws for its whole batch at once, so every process draws its own, and a run with
    dropout is repeated exactly by the same number of processes only.
    """
    entropy = [seed, step, DROPOUT_STREAM, *([rank] if rank else [])]
    words = np.random.SeedSequence(entropy).generate_state(2)
    mixed = int(words[0]) << 32 | int(words[1])
    # torch.manual_seed speaks to every kind of device, which takes 0.8 ms where there is no GPU.
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.manual_seed(mixed)
