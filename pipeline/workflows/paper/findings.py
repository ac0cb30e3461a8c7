"""What a figure says in numbers, ours, to stand beside what the paper says of its own."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from marr_pipeline.report.tables import Notation, number_text
from marr_pipeline.workflows.paper.published import Figure
from marr_pipeline.workflows.paper.tables import Record

Findings = Mapping[str, Mapping[str, float]]
"""By what it is of, a method or a gamma, and by metric; accuracies are fractions."""

METRICS: Mapping[str, tuple[str, ...]] = {
    "curves": ("logit_correlation", "margin_correlation"),
    "confusion": ("many", "medium", "few", "overall"),
}
"""Of a record's methods, by the kind of figure."""


def findings_of(figure: Figure, record: Record, numbers: Path) -> Findings:
    """Those of a figure, logit adjustment's beside them where it shows a method.

    Of correlations and accuracies of groups, or the accuracies at gamma 0, at the best one, and
    without gamma.

    Args:
        figure: one of the paper's.
        record: of its run.
        numbers: the CSV that was drawn.
    """
    if figure.kind == "gamma":
        return _of_gamma(numbers)
    shown = ("softmax", *(("logit-adjustment", *figure.keys) if figure.keys else ()))
    wanted = METRICS.get(figure.kind, ())
    return {
        key: {
            name: value
            for name in wanted
            if (value := record["methods"][key].get(name)) is not None and not math.isnan(value)
        }
        for key in shown
        if wanted and key in record["methods"]
    }


def _of_gamma(numbers: Path) -> Findings:
    with numbers.open(encoding="utf-8", newline="") as file:
        read = [
            (row["series"], float(row["gamma"] or "nan"), float(row["overall"] or "nan"))
            for row in csv.DictReader(file)
        ]
    known = [point for point in read if not math.isnan(point[2])]
    curve = [(gamma, accuracy) for _, gamma, accuracy in known if not math.isnan(gamma)]
    best = max(curve, key=lambda point: point[1])
    chosen = {"gamma": [point for point in curve if point[0] == 0], "best on test at gamma": [best]}
    found = {
        f"{name} {gamma:g}": {"overall": accuracy}
        for name, points in chosen.items()
        for gamma, accuracy in points
    }
    others = {
        series: {"overall": accuracy} for series, gamma, accuracy in known if math.isnan(gamma)
    }
    return {**found, **others}


def sentence(findings: Findings) -> str:
    """As the paper's: `gamma 0: overall 45.2; best on test at gamma 1.2: overall 47.4`."""

    def said(name: str, value: float) -> str:
        notation: Notation = "correlation" if name.endswith("correlation") else "percent"
        return f"{name.replace('_', ' ')} {number_text(value, notation)}"

    return "; ".join(
        f"{of}: {', '.join(said(*each) for each in values.items())}"
        for of, values in findings.items()
    )
