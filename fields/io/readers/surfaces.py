"""Lists of surfaces saved by ``torch.save``, such as neuraloperator's car data.

Each sample is a dict of tensors of any size: ``vertices`` (P, 3) are the points, ``vertex_normals``
(P, 3) and other vectors there are inputs, ``press`` (1, P) and other scalars there are outputs.
Samples with fewer points are padded with NaN. Tensors that are not given at the vertices
(triangles, distance grids) are not read; the attribute ``left_out`` names them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from fields.io.base import DataError, Reader, check_canonical
from fields.io.concatenated import ConcatenatedArray
from fields.io.handles import TorchHandle, torch_content
from fields.io.lazy import StoredArray, lazy_variable

AXES = ("x", "y", "z")


class Surfaces(Reader):
    """A list of dicts with ``vertices``.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "cars.pt"
        >>> cars = [{"vertices": torch.rand(n, 3), "press": torch.rand(1, n)} for n in (5, 7)]
        >>> torch.save(cars, path)
        >>> dict(Surfaces().open(path).sizes)
        {'sample': 2, 'point': 7}
    """

    layout = "surfaces_pt"
    engine = "neuralop_pt"

    def recognizes(self, path: Path) -> bool:
        """By a list whose first entry has ``vertices``."""
        content = torch_content(path)
        if not isinstance(content, list) or not content:
            return False
        return isinstance(content[0], dict) and "vertices" in content[0]

    def open(self, path: Path) -> xr.Dataset:
        """Open the surfaces as samples."""
        handle = TorchHandle(path)
        samples: list[dict[str, Any]] = handle.file
        points = [sample["vertices"].shape[0] for sample in samples]
        variables = {}
        left_out = []
        for name in samples[0]:
            if name == "vertices":
                continue
            shapes = [tuple(sample[name].shape) if name in sample else () for sample in samples]
            if shapes == [(n, 3) for n in points]:
                stem = {"vertex_normals": "normal"}.get(name, name)
                for i, axis in enumerate(AXES):
                    variables[f"{stem}_{axis}"] = _concatenated(
                        handle, name, {"role": "input"}, order=(None, 0), fixed={1: i}
                    )
            elif shapes == [(1, n) for n in points]:
                variables[name] = _concatenated(handle, name, {"role": "output"}, order=(0, 1))
            elif shapes == [(n,) for n in points]:
                variables[name] = _concatenated(handle, name, {"role": "output"}, order=(None, 0))
            else:
                left_out.append(name)
        if not variables:
            raise DataError(
                f"{path} contains {len(samples)} surfaces, but no values at their vertices; it "
                f"contains {', '.join(left_out) or 'vertices only'}."
            )
        coords = {
            axis: _concatenated(handle, "vertices", {}, order=(None, 0), fixed={1: i})
            for i, axis in enumerate(AXES)
        }
        ds = xr.Dataset(variables, coords, {"layout": self.layout, "left_out": ", ".join(left_out)})
        ds.set_close(handle.close)
        return check_canonical(ds, path)


def _concatenated(
    handle: TorchHandle, name: str, attrs: dict[str, Any], **view: Any
) -> xr.Variable:
    """One tensor per sample, concatenated over (sample, point)."""
    parts = [StoredArray(handle, f"{i}/{name}", **view) for i in range(len(handle.file))]
    return lazy_variable(("sample", "point"), ConcatenatedArray(parts), attrs)
