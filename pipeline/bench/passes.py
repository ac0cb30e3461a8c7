"""Single passes over the rows, beside the least that the machine could do on them.

read             sum over the logits: what memory gives
exp              a warm `torch.exp(logits, out=buffer)`: what a softmax cannot go below
fast, precise    our loss and full gradient, in float32 and in float64
hessian_product  our Hessian times a step
autograd         `cross_entropy`, forward and backward
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.bench.contest import Contest
from pipeline.bench.memory import fits_in_memory
from pipeline.bench.timing import Timing, timed

RATIOS = (
    ("fast", "exp"),
    ("precise", "exp"),
    ("fast", "read"),
    ("hessian_product", "fast"),
    ("autograd", "fast"),
)
AUTOGRAD_COPIES = 6
"""Arrays of the logits' size that a pass of autograd holds in float32, its input included."""


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Times of single passes; None where a pass would not have fitted into memory."""

    timings: dict[str, Timing[None] | None]

    @property
    def ratios(self) -> dict[str, float | None]:
        """`a_to_b`: seconds of a over seconds of b."""
        found: dict[str, float | None] = {}
        for upper, lower in RATIOS:
            above, below = self.timings[upper], self.timings[lower]
            ratio = above.seconds / below.seconds if above and below else None
            found[f"{upper}_to_{lower}"] = ratio
        return found

    def document(self) -> dict[str, Any]:
        """The times and their ratios as JSON."""
        times = {
            name: None
            if timing is None
            else {
                "seconds": timing.seconds,
                "median_seconds": timing.median_seconds,
                "repeats": timing.repeats,
            }
            for name, timing in self.timings.items()
        }
        return {**times, "ratios": self.ratios}


def measure_passes(contest: Contest, *, repeat: int) -> Passes:
    """Time every pass at the point where fits start."""
    problem = contest.problem()
    logits, start = contest.inputs.rows()[0], contest.start(problem)
    step = torch.ones_like(start)

    def measured(work: Callable[[], object]) -> Timing[None]:
        def run() -> None:
            work()

        return timed(run, repeat=repeat, device=contest.device)

    exp = autograd = None
    if fits_in_memory(logits.numel() * logits.itemsize, contest.device):
        buffer = torch.empty_like(logits)
        exp = measured(lambda: torch.exp(logits, out=buffer))
        del buffer
    if fits_in_memory(AUTOGRAD_COPIES * logits.numel() * 4, contest.device):
        objective = contest.autograd(logits.float())
        autograd = measured(lambda: objective.value_and_gradient(start))
        del objective
    return Passes(
        timings={
            "read": measured(logits.sum),
            "exp": exp,
            "fast": measured(lambda: problem.evaluate(start, precise=False)),
            "precise": measured(lambda: problem.evaluate(start, precise=True)),
            "hessian_product": measured(lambda: problem.hessian_product(start, step)),
            "autograd": autograd,
        }
    )
