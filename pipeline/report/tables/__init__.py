"""The tables of the commands: which columns they have, from rows of estimates or of metrics."""

from collections.abc import Mapping
from dataclasses import replace

from marr_pipeline.report.metrics import Metrics
from marr_pipeline.report.tables.formats import FORMATS, terminal_table
from marr_pipeline.report.tables.table import Cell, Column, Estimate, Table

METRIC_COLUMNS = (
    Column(key="overall", heading="overall", best="largest", has_interval=True),
    Column(key="many", heading="many", best="largest"),
    Column(key="medium", heading="medium", best="largest"),
    Column(key="few", heading="few", best="largest"),
    Column(key="macro_f1", heading="macro-F1", best="largest"),
    Column(key="worst_class", heading="worst", best="largest"),
    Column(key="nll", heading="NLL", notation="decimal", best="smallest"),
    Column(key="ece", heading="ECE", best="smallest"),
)
"""All but NLL are fractions, shown in per cent."""

HARMONIC = Column(key="harmonic_mean", heading="harmonic", best="largest")
COMPARED_METRICS = (*METRIC_COLUMNS[:5], HARMONIC, *METRIC_COLUMNS[5:])
GAINS = tuple(
    Column(key=key, heading=heading, notation="difference", best="largest", has_interval=True)
    for key, heading in (("vs_softmax", "vs softmax"), ("vs_logit_adjustment", "vs logit adj."))
)
FACTS = (
    Column(key="margin_correlation", heading="rho margin", notation="correlation"),
    Column(key="logit_correlation", heading="rho logit", notation="correlation"),
    Column(key="parameters", heading="params", notation="count"),
    Column(key="seconds", heading="fit (s)", notation="seconds"),
    Column(key="status", heading="status", notation="text"),
)


def metrics_table(rows: Mapping[str, Metrics]) -> str:
    """One line a classifier; per cent but for NLL, a dash where there is nothing to average."""
    cells = {
        name: {key: Estimate(value=value) for key, value in metrics.summaries().items()}
        for name, metrics in rows.items()
    }
    return terminal_table(Table(columns=METRIC_COLUMNS, rows=cells), min_width=10)


def comparison_text(
    rows: Mapping[str, Mapping[str, Cell]], *, captions: tuple[str, str], table_format: str
) -> str:
    """The tables of `compare`: what every method is worth, and what it gains at what cost.

    Args:
        rows: of each method, by key.
        captions: of the two tables; programs get both as one without.
        table_format: of `FORMATS`.
    """
    metrics = Table(columns=COMPARED_METRICS, rows=rows, caption=captions[0])
    gains = Table(columns=(*GAINS, *FACTS), rows=rows, caption=captions[1])
    if table_format == "csv":
        both = replace(metrics, columns=(*metrics.columns, *gains.columns))
        return FORMATS["csv"](both)
    return "\n\n".join(FORMATS[table_format](table) for table in (metrics, gains))
