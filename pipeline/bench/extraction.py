"""Extraction beside the least that it could take: the network on the same batches, nothing kept."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.bench.rates import Rate, RateRatio, Work, measure_rates


@dataclass(frozen=True, kw_only=True)
class ExtractionBench:
    """Images a second.

    Attributes:
        bare: of the eval loop.
        ours: of extraction into a sealed file.
    """

    bare: Rate
    ours: Rate

    @property
    def ratio(self) -> RateRatio:
        """Ours over bare; 1 if writing cost nothing."""
        return RateRatio.of(self.ours, self.bare)

    def document(self) -> dict[str, Any]:
        """The rates and their ratio as JSON."""
        return {
            "bare": self.bare.document(),
            "ours": self.ours.document(),
            "ours_to_bare": self.ratio.document(),
        }


def eval_loop(network: Callable[[Tensor], object], batches: Iterable[Tensor]) -> None:
    """Run a network over batches (B, C, H, W) and keep nothing."""
    with torch.inference_mode():
        for batch in batches:
            network(batch)


def measure_extraction(
    *,
    bare: Callable[[], None],
    ours: Callable[[], None],
    num_images: int,
    repeat: int,
    device: torch.device,
) -> ExtractionBench:
    """Time both in turn.

    Args:
        bare: the eval loop over every view of every image.
        ours: the same views into a sealed cache, from the plan of the file to its final name.
        num_images: images times views.
        repeat: counted turns.
        device: where the network runs.
    """
    works = {
        "bare": Work.of(bare, amount=num_images, unit="images"),
        "ours": Work.of(ours, amount=num_images, unit="images"),
    }
    rates = measure_rates(works, repeat=repeat, device=device)
    return ExtractionBench(bare=rates["bare"], ours=rates["ours"])
