"""Text from files that is shown: without control characters, and as plain text in Markdown."""

from __future__ import annotations

import re
from unicodedata import category

# Categories of Unicode: controls, invisible formatting such as reversed text, and surrogates.
CONTROL = ("Cc", "Cf", "Cs")


def printable(text: object) -> str:
    r"""Text with control characters shown as escapes, so that it cannot steer a terminal.

    Line breaks and tabs stay.

    Example:
        >>> printable("u\x1b[31m") == r"u\x1b[31m"
        True
    """
    return "".join(
        c.encode("unicode_escape").decode() if category(c) in CONTROL and c not in "\n\t" else c
        for c in str(text)
    )


def markdown(text: object) -> str:
    r"""Text on one line that Markdown and HTML show as it is.

    Example:
        >>> markdown("<b>a*b</b> [x](y)")
        '&lt;b&gt;a\\*b&lt;/b&gt; \\[x\\](y)'
    """
    line = " ".join(printable(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", line)


def fenced(text: object) -> str:
    """A Markdown block of literal text, whose fence is longer than any in the text.

    Example:
        >>> print(fenced("a"))
        ```text
        a
        ```
    """
    content = printable(text)
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{content}\n{fence}"
