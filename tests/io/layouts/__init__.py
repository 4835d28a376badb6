"""Small valid example files of every layout, for tests that hold for all of them.

The examples of the readers in ``fields/io/readers/NAME.py`` are in the module ``NAME`` of this
package. They are found by walking it: a module defines ``EXAMPLES``, a dict of :class:`Example`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import h5py


class Example(NamedTuple):
    """How to write one file of a layout, and what is known about it.

    Attributes:
        write: writes into an existing folder and returns the path to open.
        layout: the name that its reader gives the layout.
        checked: every byte is covered by a checksum, so that any change can be noticed.
        whole_arrays: the format can only be read in whole arrays, which happens on opening.
        options: arguments for ``open_dataset``.
    """

    write: Callable[[Path], Path]
    layout: str
    checked: bool = False
    whole_arrays: bool = False
    options: Mapping[str, Any] = {}


def one_file(writer: Callable[..., Any], name: str = "a", **options: Any) -> Callable[[Path], Path]:
    """The writer of a single file called ``name``."""

    def write(folder: Path) -> Path:
        writer(folder / name, **options)
        return folder / name

    return write


def with_checksums(writer: Callable[..., Any], **options: Any) -> Callable[[Path], Path]:
    """The same file in format HDF5 1.10 with compressed arrays, so that all of it has checksums."""

    def write(folder: Path) -> Path:
        writer(folder / "old", **options)
        with (
            h5py.File(folder / "old") as old,
            h5py.File(folder / "a", "w", libver=("v110", "v110")) as new,
        ):
            new.attrs.update(old.attrs)

            def visit(name: str, item: Any) -> None:
                if isinstance(item, h5py.Group):
                    made = new.require_group(name)
                else:
                    packed = {"compression": "gzip"} if item.shape else {}
                    made = new.create_dataset(name, data=item[()], **packed)
                made.attrs.update(item.attrs)

            old.visititems(visit)
        (folder / "old").unlink()
        return folder / "a"

    return write


def all_examples() -> dict[str, Example]:
    """The examples of all modules, by name."""
    examples: dict[str, Example] = {}
    for module_info in pkgutil.iter_modules(__path__, f"{__name__}."):
        examples |= import_module(module_info.name).EXAMPLES
    return examples
