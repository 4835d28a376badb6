"""What a run has to say for itself: a table for the terminal, ``report.json`` for programs, ``report.html`` for people.

Collecting the numbers is the trainer's work; here they are only written down. Pictures arrive as
bytes.
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
