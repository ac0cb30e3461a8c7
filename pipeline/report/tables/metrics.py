"""The table of `rectify`, `evaluate` and `sweep`: the metrics of some classifiers."""

from collections.abc import Mapping

from marr_pipeline.report.estimate import Estimate
from marr_pipeline.report.metrics import Metrics
from marr_pipeline.report.tables.table import Cell, Column, Table
from marr_pipeline.report.tables.terminal import terminal_table

METRIC_COLUMNS = (
    Column(key="overall", heading="overall", best="largest"),
    Column(key="many", heading="many", best="largest"),
    Column(key="medium", heading="medium", best="largest"),
    Column(key="few", heading="few", best="largest"),
    Column(key="macro_f1", heading="macro-F1", best="largest"),
    Column(key="worst_class", heading="worst", best="largest"),
    Column(key="nll", heading="NLL", notation="decimal", best="smallest"),
    Column(key="ece", heading="ECE", best="smallest"),
)
"""Attributes of `Metrics`; all but NLL are fractions, shown in per cent."""


def metrics_table(rows: Mapping[str, Metrics]) -> str:
    """One line a classifier; per cent but for NLL, a dash where there is nothing to average."""
    cells: dict[str, list[Cell]] = {
        name: [Estimate(value=getattr(metrics, column.key)) for column in METRIC_COLUMNS]
        for name, metrics in rows.items()
    }
    return terminal_table(Table(columns=METRIC_COLUMNS, rows=cells), min_width=10)
