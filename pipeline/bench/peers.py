"""Fits of calibration libraries, whole, as their users call them.

They take probabilities, of three classes or more, weigh no class, and tell neither loss nor gap.
So each is timed whole, and its result is scored on the objective that it minimises.
"""

from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from torch import Tensor

from pipeline.bench.contest import Contest, temperature_contest, vector_scaling_contest
from pipeline.bench.quiet import quiet
from pipeline.bench.settings import BenchSettings
from pipeline.bench.timing import Timing, timed
from pipeline.rectify.inputs import FitInputs

MAX_CLASSES = 1000
MAX_LOGITS = 5 * 10**7
"""Beyond these a peer takes minutes, and gigabytes in float64."""


@dataclass(frozen=True, kw_only=True)
class PeerFit:
    """A peer's fit and what it was a fit of.

    Attributes:
        contest: the peer's objective over the rows as the peer sees them.
        theta: (P,) of that objective.
        timing: of the whole call.
    """

    contest: Contest
    theta: Tensor
    timing: Timing[None]


def why_unfit(inputs: FitInputs) -> str | None:
    """Why no peer can or should be run on these rows; None if they can."""
    if inputs.logits.device.type != "cpu":
        return "runs on the CPU alone"
    if inputs.num_classes < 3:
        return "has another parametrisation for two classes"
    if inputs.num_classes > MAX_CLASSES or inputs.logits.numel() > MAX_LOGITS:
        return f"not run beyond {MAX_CLASSES:,} classes or {MAX_LOGITS:,} logits"
    return None


def fit_probmetrics(inputs: FitInputs, settings: BenchSettings) -> PeerFit:
    """`svs` of probmetrics: temperature, then vector scaling with a ridge to the identity.

    Its second stage minimises  CE + (K/N) (|v - 1|^2 + |b|^2)  over the logarithms of the
    probabilities of its first, which is our vector scaling with l2 = 2 K / N; both are timed.

    Raises:
        ImportError: the library or something it needs is not installed.
    """
    with quiet():
        calibrators = import_module("probmetrics.calibrators")
        as_logits = import_module("probmetrics.utils").multiclass_probs_to_logits
        probabilities, labels = _probabilities(inputs, torch.float32)
        calibrator = calibrators.SVSCalibrator(print_init_info=False)
        timing = timed(
            lambda: _discard(calibrator.fit(probabilities, labels)),
            repeat=settings.repeat,
            device=inputs.logits.device,
        )
        own_logits = torch.from_numpy(as_logits(calibrator.ts_.predict_proba(probabilities)))
    rows = FitInputs(
        logits=own_logits[None],
        labels=torch.from_numpy(labels),
        weight_norm=inputs.weight_norm,
        class_counts=inputs.class_counts,
        prior_counts=inputs.prior_counts,
    )
    contest = vector_scaling_contest(rows, settings, name="svs")
    scale, shift = (torch.from_numpy(np.asarray(v)) for v in (calibrator.v_, calibrator.b_))
    return PeerFit(
        contest=contest, theta=contest.theta(scale.double(), shift.double()), timing=timing
    )


def fit_netcal(inputs: FitInputs, settings: BenchSettings) -> PeerFit:
    """`TemperatureScaling` of netcal.

    It differentiates numerically: on float32 probabilities it sees no slope and leaves the
    temperature at 1, so it is given float64.

    Raises:
        ImportError: the library or something it needs is not installed.
    """
    with quiet():
        scaling = import_module("netcal.scaling")
        probabilities, labels = _probabilities(inputs, torch.float64)
        calibrator = scaling.TemperatureScaling()
        timing = timed(
            lambda: _discard(
                calibrator.fit(probabilities, labels, random_state=0, tensorboard=False)
            ),
            repeat=settings.repeat,
            device=inputs.logits.device,
        )
        theta = torch.from_numpy(np.asarray(calibrator.temperature, dtype=np.float64))
    return PeerFit(contest=temperature_contest(inputs, settings), theta=theta, timing=timing)


PEERS = {"probmetrics": fit_probmetrics, "netcal": fit_netcal}
"""By the name of their part."""


def _probabilities(
    inputs: FitInputs, dtype: torch.dtype
) -> tuple[
    np.ndarray[tuple[int, ...], np.dtype[np.floating]],
    np.ndarray[tuple[int, ...], np.dtype[np.int64]],
]:
    logits, labels = inputs.rows()
    return torch.softmax(logits.to(dtype), 1).numpy(), labels.numpy()


def _discard(result: object) -> None:
    """Nothing: a peer's `fit` returns itself."""
