"""The whole comparison: passes, our fits and those of others, in one run on one set of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pipeline.bench.contest import Contest, marr_contest, vector_scaling_contest
from pipeline.bench.heat import Heat, run_heat
from pipeline.bench.machine import Machine, machine
from pipeline.bench.memory import MemoryUse
from pipeline.bench.passes import Passes, measure_passes
from pipeline.bench.peers import PEERS, PeerFit, why_unfit
from pipeline.bench.race import RaceStatus
from pipeline.bench.record import FitRecord, absent_record
from pipeline.bench.settings import BenchSettings
from pipeline.bench.solvers import RIVALS
from pipeline.progress import Progress, silent
from pipeline.rectify.inputs import FitInputs

OURS = ("lbfgs", "newton", "sgd")
PEER_OBJECTIVES = {"probmetrics": "svs", "netcal": "temperature"}
NUM_HEATS = {"probmetrics": 2, "netcal": 1}
"""Objectives that a peer brings with it."""


@dataclass(frozen=True, kw_only=True)
class FitBench:
    """What was measured.

    Attributes:
        machine: what it was measured on.
        passes: None if not asked for.
        heats: one for each objective.
        absent: peers that did not run.
    """

    machine: Machine
    passes: Passes | None
    heats: tuple[Heat, ...]
    absent: tuple[FitRecord, ...]

    @property
    def fits(self) -> tuple[FitRecord, ...]:
        """Every fit of every objective."""
        return (*chain.from_iterable(heat.fits for heat in self.heats), *self.absent)

    @property
    def memory(self) -> MemoryUse | None:
        """Of our first fit of the objective that was asked for."""
        return self.heats[0].memory if self.heats else None

    def document(self) -> dict[str, Any]:
        """The measurements as JSON."""
        return {
            "machine": self.machine,
            "passes": None if self.passes is None else self.passes.document(),
            "objectives": {heat.contest.name: heat.document() for heat in self.heats},
            "fits": [record.document() for record in self.fits],
            "memory": None if self.memory is None else self.memory.document(),
        }


def run_fit_bench(
    inputs: FitInputs, settings: BenchSettings, *, progress: Progress = silent
) -> FitBench:
    """Measure everything that `settings.parts` names.

    Args:
        inputs: the rows, on the device that is measured.
        settings: the objective and how it is timed.
        progress: told what runs.
    """
    parts, device = settings.parts, inputs.logits.device
    ours = tuple(part for part in OURS if part in parts)
    certified = tuple(part for part in ours if part != "sgd")
    rivals = tuple(part for part in RIVALS if part in parts)
    asked = tuple(part for part in PEERS if part in parts)
    unfit = why_unfit(inputs)
    heats: list[Heat] = []
    num_heats = 1 if unfit is not None else 1 + sum(NUM_HEATS[name] for name in asked)

    def announce(note: str) -> None:
        progress(len(heats), num_heats, note)

    def add_heat(
        contest: Contest,
        *,
        ours: Sequence[str],
        rivals: Sequence[str] = (),
        peers: Sequence[tuple[str, PeerFit]] = (),
    ) -> None:
        heats.append(
            run_heat(contest, settings, ours=ours, rivals=rivals, peers=peers, announce=announce)
        )

    marr = marr_contest(inputs, settings)
    passes = None
    if "passes" in parts:
        announce("passes")
        passes = measure_passes(marr, repeat=settings.repeat)
    if ours or rivals:
        add_heat(marr, ours=ours, rivals=rivals)
    peers: dict[str, PeerFit] = {}
    absent = []
    for name in asked:
        objective = PEER_OBJECTIVES[name]
        if unfit is not None:
            absent.append(absent_record(objective, name, RaceStatus.SKIPPED, unfit))
            continue
        announce(f"{objective}: {name}")
        try:
            peers[name] = PEERS[name](inputs, settings)
        except ImportError as error:
            absent.append(absent_record(objective, name, RaceStatus.NOT_INSTALLED, str(error)))
    if "probmetrics" in asked and unfit is None and (ours or rivals):
        add_heat(vector_scaling_contest(inputs, settings), ours=certified, rivals=rivals)
    for name, peer in peers.items():
        few = rivals[:1] if name == "netcal" else ()
        add_heat(peer.contest, ours=certified, rivals=few, peers=[(name, peer)])
    progress(num_heats, num_heats)
    return FitBench(
        machine=machine(device), passes=passes, heats=tuple(heats), absent=tuple(absent)
    )
