"""Tables as comma-separated values, nothing rounded."""

import csv
import io
import math

from marr_pipeline.report.estimate import Estimate
from marr_pipeline.report.tables.table import Cell, Table


def csv_table(table: Table) -> str:
    """One line a row, empty where there is no value.

    A column that has them is followed by `KEY_low` and `KEY_high` of its intervals, by `KEY_std`
    and by `KEY_p_holm`.
    """
    head, columns = ["name"], [list[float | str](table.rows)]
    for column, cells in zip(table.columns, zip(*table.rows.values(), strict=True), strict=True):
        parts = [_parts(cell) for cell in cells]
        for suffix in dict.fromkeys(suffix for one in parts for suffix in one):
            head.append(column.key + suffix)
            columns.append([one.get(suffix, "") for one in parts])
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([head, *zip(*columns, strict=True)])
    return written.getvalue().removesuffix("\n")


def _parts(cell: Cell) -> dict[str, float | str]:
    """What a cell holds, by the end of its column's name."""
    if not isinstance(cell, Estimate):
        return {"": cell or ""}
    low, high = cell.interval or (None, None)
    found = {"": cell.value, "_low": low, "_high": high, "_std": cell.std, "_p_holm": cell.p_holm}
    return {
        suffix: "" if math.isnan(value) else value
        for suffix, value in found.items()
        if value is not None
    }
