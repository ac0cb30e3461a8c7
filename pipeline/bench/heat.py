"""One objective, everyone who races for it, and what came of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import torch

from pipeline.bench.contest import Contest, Optimum
from pipeline.bench.memory import MemoryUse, MemoryWatch, fits_in_memory
from pipeline.bench.passes import AUTOGRAD_COPIES
from pipeline.bench.peers import PeerFit
from pipeline.bench.quiet import quiet
from pipeline.bench.race import RaceResult, RaceStatus, race
from pipeline.bench.record import (
    FitRecord,
    absent_record,
    our_record,
    peer_record,
    rival_record,
)
from pipeline.bench.settings import BenchSettings
from pipeline.bench.solvers import RIVAL_LIBRARIES, RIVALS
from pipeline.bench.timing import repeated, timed
from pipeline.rectify.solvers.newton import FULL_UP_TO

Announce = Callable[[str], None]
"""Told the name of each fit before it begins."""


@dataclass(frozen=True, kw_only=True)
class Heat:
    """The fits of one objective.

    Attributes:
        contest: the objective.
        optimum: None if only certified fits of ours ran, or if it was not reached.
        fits: ours first.
        memory: of our first fit; None if none ran.
    """

    contest: Contest
    optimum: Optimum | None
    fits: tuple[FitRecord, ...]
    memory: MemoryUse | None

    def document(self) -> dict[str, Any]:
        """The objective as JSON, without its fits."""
        return {
            **self.contest.document(),
            "optimum": None if self.optimum is None else self.optimum.loss,
            "optimum_gap_bound": None if self.optimum is None else self.optimum.gap_bound,
            "target": None if self.optimum is None else self.optimum.target,
        }


def run_heat(
    contest: Contest,
    settings: BenchSettings,
    *,
    ours: Sequence[str],
    rivals: Sequence[str],
    peers: Sequence[tuple[str, PeerFit]],
    announce: Announce,
) -> Heat:
    """Run everyone named for this objective.

    Args:
        contest: the objective.
        settings: how it is timed.
        ours: names of our optimizers.
        rivals: names of general solvers.
        peers: fits of libraries, done already, by name.
        announce: told what runs.
    """
    optimum = None
    if rivals or peers or "sgd" in ours:
        announce(f"{contest.name}: the optimum")
        optimum = contest.optimum()
    fits: list[FitRecord] = []
    memory = None
    for name in ours:
        announce(f"{contest.name}: {name}")
        with MemoryWatch() as watch:
            fits.append(_run_ours(contest, name, settings, optimum))
        memory = memory or watch.use
    for name in rivals:
        announce(f"{contest.name}: {name}")
        fits += _run_rival(contest, name, settings, optimum)
    for name, peer in peers:
        fits.append(peer_record(contest, name, peer.timing, peer.theta, optimum))
    return Heat(contest=contest, optimum=optimum, fits=tuple(_with_ratios(fits)), memory=memory)


def _run_ours(
    contest: Contest, name: str, settings: BenchSettings, optimum: Optimum | None
) -> FitRecord:
    num_classes = contest.inputs.num_classes
    if name == "newton" and num_classes > FULL_UP_TO and not settings.newton_asked:
        why = f"its Hessian is dear beyond {FULL_UP_TO} classes; ask for it with --only newton"
        return absent_record(contest.name, name, RaceStatus.SKIPPED, why)
    timing = timed(
        lambda: contest.fit(name, tolerance=contest.tolerance),
        repeat=settings.repeat,
        device=contest.device,
    )
    return our_record(contest, name, timing, optimum)


def _run_rival(
    contest: Contest, name: str, settings: BenchSettings, optimum: Optimum | None
) -> list[FitRecord]:
    """In float32; where rounding stops it short of the target, also in float64."""
    try:
        with quiet():
            import_module(RIVAL_LIBRARIES[name])
    except ImportError as error:
        return [absent_record(contest.name, name, RaceStatus.NOT_INSTALLED, str(error))]
    if optimum is None:
        why = "no optimum is known to race to"
        return [absent_record(contest.name, name, RaceStatus.SKIPPED, why)]
    found: list[FitRecord] = []
    for dtype in (torch.float32, torch.float64):
        num_bytes = AUTOGRAD_COPIES * contest.inputs.logits.numel() * dtype.itemsize
        if not fits_in_memory(num_bytes, contest.device):
            why = f"autograd would take {num_bytes / 2**30:.0f} GiB in {dtype}"
            found.append(absent_record(contest.name, name, RaceStatus.SKIPPED, why))
            break
        found.append(_race_in(contest, name, settings, optimum, dtype))
        if found[-1].status != RaceStatus.STOPPED:
            break
    return found


def _race_in(
    contest: Contest,
    name: str,
    settings: BenchSettings,
    optimum: Optimum,
    dtype: torch.dtype,
) -> FitRecord:
    problem = contest.problem()
    objective = contest.autograd(contest.inputs.rows()[0].to(dtype))
    start = contest.start(problem)

    def run() -> tuple[float, RaceResult]:
        result = race(
            RIVALS[name],
            objective,
            problem,
            start,
            target=optimum.target,
            limit_seconds=settings.limit_seconds,
        )
        return result.seconds, result

    timing = repeated(
        run,
        repeat=settings.repeat,
        is_worth=lambda result: result.status is RaceStatus.REACHED,
    )
    arithmetic = str(dtype).removeprefix("torch.")
    return rival_record(contest, name, timing, optimum, arithmetic=arithmetic)


def _with_ratios(fits: Sequence[FitRecord]) -> list[FitRecord]:
    """The same records with `times_ours`."""
    own = next((fit.seconds for fit in fits if fit.fit == "lbfgs"), None)
    if own is None:
        return list(fits)
    return [
        fit if fit.seconds is None else replace(fit, times_ours=fit.seconds / own) for fit in fits
    ]
