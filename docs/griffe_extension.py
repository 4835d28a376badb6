"""How griffe reads our docstrings: entries for several parameters, fields of tuples, examples."""

from __future__ import annotations

import re
from typing import Any

import griffe

SHARED = re.compile(r"^( +)(\*{0,2}\w+(?:, \*{0,2}\w+)+)(: .*(?:\n\1 +\S.*)*)", re.MULTILINE)
SINGULAR = re.compile(r"^Example:$", re.MULTILINE)


def expand(text: str) -> str:
    r"""Give each parameter an entry of its own, and turn "Example:" into Google's "Examples:".

    griffe takes ``a, b: ...`` for one parameter of that name, and "Example:" for a note whose
    ``>>>`` become block quotations.

    Example:
        >>> expand("Args:\n    a, b: two widths.")
        'Args:\n    a: two widths.\n    b: two widths.'
    """
    return SINGULAR.sub("Examples:", SHARED.sub(_one_entry_each, text))


def _one_entry_each(found: re.Match[str]) -> str:
    return "\n".join(f"{found[1]}{name}{found[3]}" for name in found[2].split(", "))


class ReadableDocstrings(griffe.Extension):
    """Applies :func:`expand` to every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring in place; fields of a named tuple are attributes."""
        if obj.docstring is None:
            return
        text = expand(obj.docstring.value)
        if isinstance(obj, griffe.Class) and "NamedTuple" in map(str, obj.bases):
            text = text.replace("Args:\n", "Attributes:\n")
        obj.docstring.value = text
