"""An experiment of the paper as far as it has run: as text, and as the record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from marr_pipeline.report.tables import Estimate, Table, terminal_table
from marr_pipeline.workflows import CREATOR, library_versions
from marr_pipeline.workflows.paper.findings import Findings, sentence
from marr_pipeline.workflows.paper.plan import Planned, lines_of
from marr_pipeline.workflows.paper.runs import Schedule


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """An experiment, as far as it has run.

    Attributes:
        experiment: one of `names.EXPERIMENTS`.
        title: what the paper shows there.
        schedule: of its runs.
        seeds: how many of each.
        device: where networks ran.
        runs: what it is made of.
        table: filled; None for a figure.
        finding: what the paper says of a figure in numbers.
        ours: the same of ours.
        files: written.
    """

    experiment: str
    title: str
    schedule: Schedule
    seeds: int
    device: str
    runs: Sequence[Planned]
    table: Table | None = None
    finding: str = ""
    ours: Findings = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    @property
    def devices(self) -> str:
        """Those that its finished runs were on, or where it would run."""
        records = [each.record for each in self.runs if each.record is not None]
        found = {str(record.get("device", self.device)) for record in records}
        return ", ".join(sorted(found)) or self.device

    @property
    def missing(self) -> list[Planned]:
        """Runs without which it is not whole."""
        return [each for each in self.runs if each.state != "done"]

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it could be made: no figure, or no number of ours in its table."""
        if self.table is None or not self.missing:
            return bool(self.missing)
        return not any(
            isinstance(cell, Estimate) and not key.startswith("paper")
            for cells in self.table.rows.values()
            for key, cell in cells.items()
        )

    @property
    def failed(self) -> list[str]:
        """Methods of its runs that could not be fitted or scored, and why."""
        return [
            f"{each.run.scored_stem}, {key}: {reason}"
            for each in self.runs
            if each.record is not None
            for key, reason in each.record["failed"].items()
        ]

    @property
    def heading(self) -> str:
        """What it is, and of which schedule."""
        said = f" ({self.schedule.text})" if self.schedule.text else ""
        return f"{self.experiment}: {self.title}{said}"

    def text(self, write: Callable[[Table], str] | None = None) -> str:
        """The table, for this terminal or as it is to be written, between what it is and lacks."""
        if write is None:
            write = partial(terminal_table, max_width=get_terminal_size().columns)
        lines = [self.heading]
        if self.table is not None:
            lines += ["", write(self.table), ""]
        if self.finding:
            lines.append(f"the paper: {self.finding}")
        if self.ours:
            lines.append(f"here: {sentence(self.ours)}")
        if self.runs:
            seeds = "one seed"
            if self.seeds > 1:
                seeds = (
                    f"mean ± deviation over {self.seeds} seeds, or over n where so many are done"
                )
            lines.append(f"{seeds}, on {self.devices}; {CREATOR}")
        lines += [f"- missing: {line}" for line in lines_of(self.missing)]
        lines += [f"- failed: {line}" for line in self.failed]
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline reproduce`, which is also its record."""
        return {
            "command": "reproduce",
            "experiment": self.experiment,
            "title": self.title,
            "schedule": {**vars(self.schedule), "is_rehearsal": self.schedule.scale != 1},
            "complete": not self.missing and not self.failed,
            "seeds": self.seeds,
            "device": self.devices,
            "creator": CREATOR,
            "versions": library_versions(),
            "rows": {} if self.table is None else _rows(self.table),
            "finding": self.finding,
            "ours": self.ours,
            "runs": [each.describe() for each in self.runs],
            "files": list(self.files),
        }


def _rows(table: Table) -> dict[str, dict[str, Any]]:
    return {
        name: {
            key: cell
            if isinstance(cell, str)
            else {"value": cell.value, "std": cell.std, "n": cell.n}
            for key, cell in cells.items()
        }
        for name, cells in table.rows.items()
    }
