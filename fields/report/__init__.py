"""The report of a run: a table on the terminal, ``report.json`` and ``report.html``.

``StaticReport`` (of maps) and ``RolloutReport`` (of problems in time) collect the errors of trained
models and draw the pictures. Everything that is then shown stands in a ``Results``, from which
``print_table`` and ``write_report`` make the output.
"""

from fields.report.html import render_html
from fields.report.output import print_table, to_json, write_report
from fields.report.results import Picture, Results, Row, format_duration, format_number

__all__ = [
    "Picture",
    "Results",
    "Row",
    "format_duration",
    "format_number",
    "print_table",
    "render_html",
    "to_json",
    "write_report",
]
