"""The report as one HTML page without other files: light or dark, and printable."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from string import Template
from typing import Any

from fields.report.results import (
    COLUMNS,
    Picture,
    Results,
    Row,
    Verdict,
    metric_tables,
    output_table,
    table_cells,
)

OUTPUTS_NOTE = "Mean relative L2 of every output over its points; test split."

# Of the figures, fields.plot.STYLE["savefig.dpi"].
DPI = 160

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --quiet: #5d6670; --line: #dfe3e8; --paper: #ffffff; --wash: #f5f7f9;
  --accent: #0063a5;
  --good: #1a7f37; --warning: #8a5a00; --bad: #b3261e;
  --good-wash: #eef8f0; --warning-wash: #fdf6e3; --bad-wash: #fdeceb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ec; --quiet: #9aa4af; --line: #343b43; --paper: #14181c; --wash: #1d2329;
    --accent: #6cb8ee;
    --good: #6fce85; --warning: #e3b341; --bad: #ff8f85;
    --good-wash: #14261a; --warning-wash: #2a2313; --bad-wash: #341916;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans",
    sans-serif;
}
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 0.6rem; letter-spacing: -0.01em; }
h2 { font-size: 1.15rem; margin: 2.8rem 0 0.8rem; }
p { margin: 0 0 0.8rem; max-width: 44rem; }
.quiet, figcaption, caption { color: var(--quiet); font-size: 0.9rem; }
.summary {
  font-size: 1.1rem; border-left: 3px solid var(--accent); padding-left: 0.9rem; margin: 1.2rem 0;
}
.verdict {
  border-left: 5px solid var(--tone); background: var(--tone-wash); border-radius: 4px;
  padding: 0.8rem 1rem; margin: 1.2rem 0;
}
.verdict.good { --tone: var(--good); --tone-wash: var(--good-wash); }
.verdict.warning { --tone: var(--warning); --tone-wash: var(--warning-wash); }
.verdict.bad { --tone: var(--bad); --tone-wash: var(--bad-wash); }
.verdict p { margin: 0; font-size: 1.1rem; font-weight: 650; color: var(--tone); max-width: none; }
.verdict ul { margin: 0.6rem 0 0; padding-left: 1.2rem; }
.verdict li.warning { color: var(--warning); }
.verdict li.bad { color: var(--bad); font-weight: 650; }
.scroll { overflow-x: auto; }
.scroll + .scroll { margin-top: 1.6rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; padding-top: 0.6rem; }
th, td {
  padding: 0.45rem 0.8rem; text-align: right; border-bottom: 1px solid var(--line);
}
td { white-space: nowrap; }
th { font-weight: 600; font-size: 0.85rem; color: var(--quiet); vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.ours td { font-weight: 650; background: var(--wash); }
tr.ours td:first-child { padding-left: 0.5rem; border-left: 3px solid var(--accent); }
figure { margin: 0 0 2rem; }
figure img {
  display: block; max-width: 100%; height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: 6px; padding: 0.6rem;
}
figcaption { margin-top: 0.5rem; max-width: 44rem; }
pre {
  background: var(--wash); border: 1px solid var(--line); border-radius: 6px;
  padding: 0.8rem 1rem; margin: 0 0 0.8rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 0.88rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
dl {
  display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: 0.35rem 1.5rem;
  margin: 0;
}
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; white-space: pre-line; }
@media (max-width: 34rem) {
  figure img { max-width: none; width: 34rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 0.6rem; }
}
@media print {
  main { max-width: none; padding: 0; }
  .scroll { overflow-x: visible; }
  table { font-size: 0.72rem; }
  th, td { padding: 0.25rem 0.3rem; white-space: normal; font-size: inherit; }
  figure, tr { break-inside: avoid; }
}
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
    """The HTML text of the page."""
    summary = f'<p class="summary">{escape(results.summary)}</p>' if results.summary else ""
    outputs = output_table(results)
    parts = [
        _verdict(results.verdict),
        f"<p>{_text(results.problem)}</p>",
        summary,
        _section("Test errors", _error_table(results.rows, results.error_name)),
        _section("Error of every output", _table(*outputs, OUTPUTS_NOTE) if outputs else ""),
        _section("Further metrics", "\n".join(_table(*one) for one in metric_tables(results))),
        _section("Pictures", "\n".join(map(_figure, results.pictures))),
        _section("Protocol", _list(results.protocol)),
        _section("Reproduce", _code(results.command)),
        _section("Try next", _code(results.next_command)),
    ]
    return PAGE.substitute(
        title=_text(results.title), style=STYLE, body="\n".join(part for part in parts if part)
    )


def _verdict(verdict: Verdict | None) -> str:
    """The verdict in the color of its level, with a list of remarks."""
    if verdict is None:
        return ""
    headline, *others = verdict.sentences()
    items = "".join(
        f"<li class={found.level}>{_text(sentence)}</li>"
        for sentence, found in zip(others, verdict.remarks, strict=True)
    )
    more = f"\n<ul>{items}</ul>" if items else ""
    return f'<div class="verdict {verdict.level}">\n<p>{_text(headline)}</p>{more}\n</div>'


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>\n{content}" if content else ""


def _error_table(rows: list[Row], caption: str) -> str:
    if not rows:
        return ""
    note = (
        f"{caption[:1].upper()}{caption[1:]}; test split. Training time on the machine named below."
    )
    classes = ["ours" if row.ours else "" for row in rows]
    return _table(COLUMNS, [table_cells(row) for row in rows], note, classes)


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str = "",
    classes: Sequence[str] | None = None,
) -> str:
    """A table that scrolls where the page is too narrow; `classes` are those of the rows."""
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "\n".join(
        f"<tr{f' class={name}' if name else ''}>"
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row, name in zip(rows, classes or [""] * len(rows), strict=True)
    )
    note = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{note}<thead><tr>{names}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.data).decode("ascii")
    caption = escape(picture.caption)
    source = f"data:image/{picture.kind};base64,{data}"
    image = f'<img alt="{escape(picture.name)}"{_width(picture)} src="{source}">'
    return f'<figure><div class="scroll">{image}</div><figcaption>{caption}</figcaption></figure>'


def _width(picture: Picture) -> str:
    """The width of a PNG in CSS pixels, 96 an inch: all figures have the same font size."""
    if picture.kind != "png":
        return ""
    return f' width="{int.from_bytes(picture.data[16:20]) * 96 / DPI:.0f}"'


def _list(values: dict[str, Any]) -> str:
    texts = {name: _value(value) for name, value in values.items()}
    items = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{text}</dd>" for name, text in texts.items() if text
    )
    return f"<dl>{items}</dl>" if items else ""


def _value(value: Any) -> str:
    if isinstance(value, str) and value.startswith("{"):
        # The recipe, which data files hold as JSON.
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
    """Escaped text, with arrows that a line break cannot split."""
    return escape(words.replace("->", "→"))


def _code(command: str) -> str:
    return f"<pre><code>{escape(command)}</code></pre>" if command else ""
