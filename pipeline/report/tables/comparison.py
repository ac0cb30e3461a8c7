"""The two tables of `compare`: what every method is worth, and what it gains at what cost."""

from collections.abc import Mapping
from dataclasses import replace

from marr_pipeline.report.comparison import REFERENCES
from marr_pipeline.report.estimate import Estimate
from marr_pipeline.report.method_report import Report, difference_key
from marr_pipeline.report.tables.metrics import METRIC_COLUMNS
from marr_pipeline.report.tables.table import Cell, Column, Table

HARMONIC = Column(key="harmonic_mean", heading="harmonic", best="largest")
DIFFERENCE_COLUMNS = tuple(
    Column(key=difference_key(name), heading=f"vs {heading}", notation="difference", best="largest")
    for name, heading in zip(REFERENCES, ("softmax", "logit adj."), strict=True)
)
CORRELATION_COLUMNS = (
    Column(key="margin_correlation", heading="rho margin", notation="correlation"),
    Column(key="logit_correlation", heading="rho logit", notation="correlation"),
)
COST_COLUMNS = (
    Column(key="parameters", heading="params", notation="count"),
    Column(key="seconds", heading="fit (s)", notation="seconds"),
    Column(key="status", heading="status", notation="text"),
)
SHOWN_INTERVALS = ("overall", *(column.key for column in DIFFERENCE_COLUMNS))
"""With all of them a table is too wide to read; every interval is in the CSV and the JSON."""


def metrics_comparison(reports: Mapping[str, Report], caption: str) -> Table:
    """Every metric of every method."""
    position = [column.key for column in METRIC_COLUMNS].index("macro_f1") + 1
    columns = (*METRIC_COLUMNS[:position], HARMONIC, *METRIC_COLUMNS[position:])
    return _table(reports, columns, caption)


def gains_comparison(reports: Mapping[str, Report], caption: str) -> Table:
    """Differences to the baselines, correlations with class counts, and costs of the fit."""
    return _table(reports, (*DIFFERENCE_COLUMNS, *CORRELATION_COLUMNS, *COST_COLUMNS), caption)


def full_comparison(reports: Mapping[str, Report]) -> Table:
    """Both side by side with every interval, for programs."""
    first, second = (make(reports, "") for make in (metrics_comparison, gains_comparison))
    columns = (*first.columns, *second.columns)
    return Table(columns=columns, rows=_rows(reports, columns))


def _table(reports: Mapping[str, Report], columns: tuple[Column, ...], caption: str) -> Table:
    shown = {
        name: [
            replace(cell, interval=None)
            if isinstance(cell, Estimate) and column.key not in SHOWN_INTERVALS
            else cell
            for cell, column in zip(cells, columns, strict=True)
        ]
        for name, cells in _rows(reports, columns).items()
    }
    return Table(columns=columns, rows=shown, caption=caption)


def _rows(reports: Mapping[str, Report], columns: tuple[Column, ...]) -> dict[str, list[Cell]]:
    """None for the difference of a reference to itself."""
    rows: dict[str, list[Cell]] = {}
    for name, report in reports.items():
        found: dict[str, Cell] = {**report.estimates(), "status": report.status}
        rows[name] = [found.get(column.key) for column in columns]
    return rows
