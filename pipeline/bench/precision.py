"""What storing logits in float16 costs, beside float32: the same rows fitted twice.

Rounding to float16 moves a logit by at most 2^-11 of itself. What that does to the fitted numbers,
to rectified probabilities and to accuracy is measured here; what it saves is bytes and, where rows
come from memory or disk, time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.bench.agreement import Agreement, Difference, RectifiedRows, compare_rectified
from pipeline.bench.contest import Contest, marr_contest
from pipeline.bench.machine import Machine, machine
from pipeline.bench.settings import BenchSettings
from pipeline.bench.timing import Stopwatch, Timing, interleaved
from pipeline.errors import DataError
from pipeline.rectify.fit import Fit
from pipeline.rectify.inputs import FitInputs
from pipeline.rectify.rows import FeatureLogits

DTYPES = {"float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class PrecisionBench:
    """Two fits and their differences.

    Attributes:
        machine: what it was measured on.
        fits: by the dtype of the stored logits.
        num_bytes: of the stored logits, by dtype.
        omega: how far the fitted scales differ.
        beta: how far the fitted shifts differ.
        agreement: of both on the evaluation rows, float32 first; each rectifies logits stored as
            those it was fitted on.
        solver_error: certified: no fitted number is farther than this from its own minimiser.
            None for a ridge to a line, whose certificate does not say so.
    """

    machine: Machine
    fits: dict[str, Timing[Fit]]
    num_bytes: dict[str, int]
    omega: Difference
    beta: Difference
    agreement: Agreement
    solver_error: float | None

    def document(self) -> dict[str, Any]:
        """The measurements as JSON."""
        agreement = self.agreement
        accuracies = dict(zip(DTYPES, agreement.accuracies, strict=True))
        return {
            "machine": self.machine,
            "fits": {
                dtype: {
                    "bytes": self.num_bytes[dtype],
                    "seconds": timing.seconds,
                    "median_seconds": timing.median_seconds,
                    "repeats": timing.repeats,
                    "passes": timing.result.passes,
                    "status": timing.result.status.value,
                    "loss": timing.result.loss,
                    "gap_bound": timing.result.gap_bound,
                    "accuracy": accuracies[dtype],
                }
                for dtype, timing in self.fits.items()
            },
            "differences": {
                "omega": self.omega.document(),
                "beta": self.beta.document(),
                "probabilities": agreement.probabilities.document(),
                "accuracy": agreement.accuracy_difference,
                "changed_predictions": agreement.changed,
                "evaluation_rows": agreement.num_rows,
                "solver_error": self.solver_error,
            },
        }


def run_precision_bench(
    inputs: FitInputs,
    settings: BenchSettings,
    *,
    evaluation: tuple[Tensor, Tensor] | None = None,
) -> PrecisionBench:
    """Fit the rows as they are and rounded to float16.

    Args:
        inputs: rows stored as float32, on the device that is measured.
        settings: the objective, how near to come, and how often to time it.
        evaluation: logits (N, K) float32 and labels (N,) to compare on; None: the rows themselves.

    Raises:
        DataError: the logits are not float32, or too large for float16.
    """
    logits, labels = inputs.rows() if evaluation is None else evaluation
    contests: dict[str, Contest] = {}
    evaluated: dict[str, Tensor] = {}
    for name, dtype in DTYPES.items():
        stored = replace(inputs, logits=_stored(inputs.logits, dtype))
        contests[name] = marr_contest(stored, settings)
        evaluated[name] = _stored(logits, dtype)

    def whole(contest: Contest) -> Callable[[Stopwatch], Fit]:
        return lambda watch: contest.fit("lbfgs", tolerance=contest.tolerance)

    fits = interleaved(
        {name: whole(contest) for name, contest in contests.items()},
        repeat=settings.repeat,
        device=inputs.logits.device,
    )
    found = [timing.result.rectifier for timing in fits.values()]
    first, second = (
        RectifiedRows(rectifier=rectifier, logits=stored)
        for rectifier, stored in zip(found, evaluated.values(), strict=True)
    )
    return PrecisionBench(
        machine=machine(inputs.logits.device),
        fits=fits,
        num_bytes={name: inputs.logits.numel() * dtype.itemsize for name, dtype in DTYPES.items()},
        omega=Difference.between(*(rectifier.own["omega"] for rectifier in found)),
        beta=Difference.between(*(rectifier.own["beta"] for rectifier in found)),
        agreement=compare_rectified(first, second, labels),
        solver_error=None
        if settings.center == "tempered"
        else max(_solver_error(timing.result, settings.l2) for timing in fits.values()),
    )


def _stored(logits: Tensor | FeatureLogits, dtype: torch.dtype) -> Tensor:
    if not isinstance(logits, Tensor) or logits.dtype != torch.float32:
        raise DataError(
            f"logits: float32 expected, to be compared with float16, got {logits.dtype}; "
            "extract or import with --dtype float32"
        )
    stored = logits.to(dtype)
    if not bool(torch.isfinite(stored).all()):
        raise DataError(
            f"logits: numbers within float16's range expected, got {float(logits.abs().max()):g}; "
            "these can only be stored as float32"
        )
    return stored


def _solver_error(fit: Fit, l2: float) -> float:
    """F is l2-strongly convex, so |theta - theta*|^2 <= 2 (F - F*) / l2."""
    assert fit.gap_bound is not None
    return math.sqrt(2 * fit.gap_bound / l2)
