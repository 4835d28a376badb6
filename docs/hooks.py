"""Page hooks: LaTeX becomes MathML, and roles of docstrings become plain code."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

MATH = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
ROLE = re.compile(r":(?:class|meth|func|mod|attr):<code>([^<]*)</code>")


def on_page_content(content: str, **_: Any) -> str:
    """Convert equations to MathML, which needs no script, and roles such as :class:`a.b.C` to C."""
    content = ROLE.sub(
        lambda role: f"<code>{role[1].lstrip('~').rsplit('.', 1)[-1]}</code>", content
    )
    return MATH.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    block = found[2] == "["
    equation = convert(html.unescape(found[3]).strip(), display="block" if block else "inline")
    # the wrapper scrolls where the equation is wider than the screen
    return f'<div class="equation">{equation}</div>' if block else equation
