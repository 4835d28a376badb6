"""What happens to a page on its way to HTML: LaTeX becomes MathML, roles of docstrings become plain code."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

MATH = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
ROLE = re.compile(r":(?:class|meth|func|mod):<code>([^<]*)</code>")


def on_page_content(content: str, **_) -> str:
    """Equations that any browser shows without a script, and ``:class:`a.b.C``` as ``C``."""
    content = ROLE.sub(
        lambda role: f"<code>{role[1].lstrip('~').rsplit('.', 1)[-1]}</code>", content
    )
    return MATH.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    block = found[2] == "["
    equation = convert(html.unescape(found[3]).strip(), display="block" if block else "inline")
    return (
        f'<div class="equation">{equation}</div>' if block else equation
    )  # scrolls where it is wider than the screen
