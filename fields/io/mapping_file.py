"""Read a mapping and check its keys (see :mod:`fields.io.mapping`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from fields.io.base import DataError

KEYS = ("dims", "fields", "coords", "parameters", "periodic")


class _AsWritten(yaml.SafeLoader):
    """YAML in which only whole numbers are not text, and no key may be given twice."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012  an attribute of the base class

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Make a table of a node."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise DataError(f"The mapping has the key `{key}` twice.")
        return super().construct_mapping(node, deep=deep)


_AsWritten.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789")
)


def load_mapping(mapping: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    """A mapping as a table, read from a YAML file if it is a path.

    Raises:
        DataError: it cannot be read, or has unknown keys.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mapping.yaml"
        >>> _ = path.write_text("dims: [sample, x]\\nfields: {NO: /NO}")
        >>> load_mapping(path)
        {'dims': ['sample', 'x'], 'fields': {'NO': '/NO'}}
    """
    if not isinstance(mapping, Mapping):
        try:
            mapping = yaml.load(Path(mapping).read_text(), _AsWritten)
        except (OSError, UnicodeError, yaml.YAMLError) as error:
            raise DataError(f"The mapping {mapping} cannot be read: {error}.") from error
    if not isinstance(mapping, Mapping):
        raise DataError(
            "The mapping must be a YAML table with the keys `fields`, `dims` and `coords`, "
            f"not {type(mapping).__name__}."
        )
    for key in mapping:
        check_key(key, KEYS, "The mapping")
    return mapping


def check_key(
    key: Any, known: tuple[str, ...], where: str, noun: str = "key", nouns: str = "keys"
) -> None:
    """Check that a key is a known one.

    Raises:
        DataError: it is not; the message suggests a similar one.
    """
    if key in known:
        return
    close = get_close_matches(str(key), known, 1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    raise DataError(
        f"{where} has the unknown {noun} `{key}`; valid {nouns} are {', '.join(known)}.{hint}"
    )
