"""What a run has to say for itself: a table for the terminal, ``report.json`` for programs, ``report.html`` for people.

Collecting the numbers is the trainer's work; here they are only written down. Pictures arrive as bytes.
"""

from .output import print_table, to_json, write
from .page import page
from .results import Picture, Results, Row, duration, number

__all__ = ["Picture", "Results", "Row", "duration", "number", "page", "print_table", "to_json", "write"]
