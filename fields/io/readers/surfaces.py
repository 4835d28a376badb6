"""Lists of surfaces saved by ``torch.save``, as neuraloperator's car data: a dict of tensors per sample, of any size.

``vertices`` (P, 3) are the points, ``vertex_normals`` (P, 3) and other vectors there are inputs,
``press`` (1, P) and other scalars there outputs. Samples with fewer points are padded with NaN.
What does not live on the vertices (triangles, distance grids) is named in the attribute
``left_out``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from fields.io.base import DataError, Reader, check
from fields.io.concatenated import ConcatenatedArray
from fields.io.handles import TorchHandle
from fields.io.lazy import StoredArray, lazy
from fields.io.readers.neuralop_pt import torch_content

AXES = ("x", "y", "z")


class Surfaces(Reader):
    """A list of dicts with ``vertices``."""

    layout = "surfaces_pt"

    def recognizes(self, path: Path) -> bool:
        """By a list whose first entry has ``vertices``."""
        content = torch_content(path)
        return (
            isinstance(content, list)
            and bool(content)
            and isinstance(content[0], dict)
            and "vertices" in content[0]
        )

    def open(self, path: Path) -> xr.Dataset:
        """Opens the list."""
        handle = TorchHandle(path)
        samples: list[dict[str, Any]] = handle.file
        points = [sample["vertices"].shape[0] for sample in samples]
        variables, left_out = {}, []
        for name in samples[0]:
            shapes = [tuple(sample[name].shape) if name in sample else () for sample in samples]
            if name == "vertices":
                continue
            if all(shape == (n, 3) for shape, n in zip(shapes, points, strict=True)):
                stem = {"vertex_normals": "normal"}.get(name, name)
                for i, axis in enumerate(AXES):
                    variables[f"{stem}_{axis}"] = _joined(
                        handle, name, len(samples), "input", order=(None, 0), fixed={1: i}
                    )
            elif all(shape == (1, n) for shape, n in zip(shapes, points, strict=True)):
                variables[name] = _joined(handle, name, len(samples), "output", order=(0, 1))
            elif all(shape == (n,) for shape, n in zip(shapes, points, strict=True)):
                variables[name] = _joined(handle, name, len(samples), "output", order=(None, 0))
            else:
                left_out.append(name)
        if not variables:
            raise DataError(
                f"{path} has {len(samples)} surfaces but no value at their vertices, only {', '.join(left_out)}."
            )
        coords = {}
        for i, axis in enumerate(AXES):
            coords[axis] = _joined(
                handle, "vertices", len(samples), None, order=(None, 0), fixed={1: i}
            )
        ds = xr.Dataset(variables, coords, {"layout": self.layout, "left_out": ", ".join(left_out)})
        ds.set_close(handle.close)
        return check(ds, path)


def _joined(
    handle: TorchHandle, name: str, samples: int, role: str | None, **view: Any
) -> xr.Variable:
    parts = [StoredArray(handle, f"{i}/{name}", **view) for i in range(samples)]
    return lazy(
        ("sample", "point"), ConcatenatedArray(parts), {} if role is None else {"role": role}
    )
