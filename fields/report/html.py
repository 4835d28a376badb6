"""The report as one HTML page that needs nothing else: pictures inside, light and dark, readable on paper."""

from __future__ import annotations

import base64
import json
from html import escape
from string import Template
from typing import Any

from fields.report.results import COLUMNS, Picture, Results, Row, format_number, table_cells

DPI = 160  # of the project's figures, fields.plot.STYLE["savefig.dpi"]

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #5d6670; --line: #dfe3e8; --paper: #ffffff; --wash: #f5f7f9;
  --accent: #0063a5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --quiet: #9aa4af; --line: #343b43; --paper: #14181c;
  --wash: #1d2329; --accent: #6cb8ee; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 0.6rem; letter-spacing: -0.01em; }
h2 { font-size: 1.15rem; margin: 2.8rem 0 0.8rem; }
p { margin: 0 0 0.8rem; max-width: 44rem; }
.quiet, figcaption, caption { color: var(--quiet); font-size: 0.9rem; }
.summary { font-size: 1.1rem; border-left: 3px solid var(--accent); padding-left: 0.9rem; margin: 1.2rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; padding-top: 0.6rem; }
th, td { padding: 0.45rem 0.8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; font-size: 0.85rem; color: var(--quiet); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.ours td { font-weight: 650; background: var(--wash); }
tr.ours td:first-child { padding-left: 0.5rem; border-left: 3px solid var(--accent); }
figure { margin: 0 0 2rem; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; padding: 0.6rem; }
figcaption { margin-top: 0.5rem; max-width: 44rem; }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 6px; padding: 0.8rem 1rem;
  white-space: pre-wrap; overflow-wrap: anywhere;
  font: 0.88rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 0 0 0.8rem; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: 0.35rem 1.5rem; margin: 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; white-space: pre-line; }
@media (max-width: 34rem) { figure img { max-width: none; width: 34rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 0.6rem; } }
@media print { main { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } }
"""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<h1>$title</h1>
$body
</main>
</body>
</html>
""")


def render_html(results: Results) -> str:
    """The whole page."""
    summary = f'<p class="summary">{escape(results.summary)}</p>' if results.summary else ""
    parts = [
        f"<p>{_text(results.problem)}</p>",
        summary,
        _section("Test errors", _table(results.rows, results.error_name)),
        _section(
            "Other scores",
            _list({name: format_number(value) for name, value in results.metrics.items()}),
        ),
        _section("Pictures", "\n".join(map(_figure, results.pictures))),
        _section("Protocol", _list(results.protocol)),
        _section("Reproduce", _code(results.command)),
        _section("Try next", _code(results.next_command)),
    ]
    return PAGE.substitute(
        title=_text(results.title), style=STYLE, body="\n".join(part for part in parts if part)
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>\n{content}" if content else ""


def _table(rows: list[Row], caption: str) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    body = "\n".join(
        f"<tr{' class=ours' if row.ours else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in table_cells(row))}</tr>"
        for row in rows
    )
    note = f"<caption>{escape(caption)}, over the test split; training time on the hardware named below.</caption>"
    return f'<div class="scroll"><table>{note}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.data).decode("ascii")
    caption = escape(picture.caption)
    image = f'<img alt="{escape(picture.name)}"{_width(picture)} src="data:image/{picture.kind};base64,{data}">'
    return f'<figure><div class="scroll">{image}</div><figcaption>{caption}</figcaption></figure>'


def _width(picture: Picture) -> str:
    """PNGs at their size in inches (96 CSS pixels each), so that letters are as large in every figure."""
    if picture.kind != "png":
        return ""
    return f' width="{int.from_bytes(picture.data[16:20]) * 96 / DPI:.0f}"'


def _list(values: dict[str, Any]) -> str:
    said = {name: _value(value) for name, value in values.items()}
    items = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{value}</dd>" for name, value in said.items() if value
    )
    return f"<dl>{items}</dl>" if items else ""


def _value(value: Any) -> str:
    if isinstance(value, str) and value.startswith("{"):  # the recipe, as data files carry it
        value = json.loads(value)
    if isinstance(value, dict):
        return "<br>".join(
            f"{escape(str(name))}: {_inline(item)}" for name, item in value.items() if _inline(item)
        )
    return _inline(value)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{escape(str(name))} {_inline(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_inline, value))
    return _text(f"{value:g}" if isinstance(value, float) else str(value))


def _text(words: str) -> str:
    return escape(words.replace("->", "→"))  # an arrow that no line break takes apart


def _code(command: str) -> str:
    return f"<pre><code>{escape(command)}</code></pre>" if command else ""
