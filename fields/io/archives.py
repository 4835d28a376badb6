"""Arrays in numpy's ``.npz`` archives."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes in the headers of an ``.npz`` archive; no values are read.

    Arrays of objects and texts are omitted; a zip archive with other members has no shapes.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npz"
        >>> np.savez(path, u=np.zeros((2, 3)), name=np.array(["a"]))
        >>> npz_shapes(path)
        {'u': (2, 3)}
    """
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if not member.endswith(".npy"):
                return {}
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read_header = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read_header(file)
            if dtype.kind in "biufc":
                shapes[member.removesuffix(".npy")] = shape
    return shapes
