"""Tables: one neutral object, and a module for each format it is written in."""

from collections.abc import Callable

from marr_pipeline.report.tables.latex import latex_table
from marr_pipeline.report.tables.markdown import markdown_table
from marr_pipeline.report.tables.table import Table
from marr_pipeline.report.tables.terminal import terminal_table

TEXT_FORMATS: dict[str, Callable[[Table], str]] = {
    "terminal": terminal_table,
    "markdown": markdown_table,
    "latex": latex_table,
}
"""Formats for readers; `delimited` writes tables for programs."""
