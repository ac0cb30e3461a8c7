"""Tables for the terminal."""

import math
from collections.abc import Mapping

from pipeline.report.metrics import Metrics

COLUMNS = {
    "overall": "overall",
    "many": "many",
    "medium": "medium",
    "few": "few",
    "macro_f1": "macro-F1",
    "worst_class": "worst",
    "nll": "NLL",
    "ece": "ECE",
}
"""Attribute of `Metrics` and heading; all but NLL are fractions, shown in per cent."""


def metrics_table(rows: Mapping[str, Metrics]) -> str:
    """One line a classifier; per cent but for NLL, a dash where there is nothing to average."""
    width = max(len(name) for name in rows)
    lines = [" " * width + "".join(f"{heading:>10}" for heading in COLUMNS.values())]
    for name, metrics in rows.items():
        cells = (_cell(attribute, getattr(metrics, attribute)) for attribute in COLUMNS)
        lines.append(name.ljust(width) + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)


def _cell(attribute: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if attribute == "nll" else f"{100 * value:.1f}"
