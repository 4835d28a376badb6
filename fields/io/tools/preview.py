"""Draw one sample of a dataset as a small picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fields.core.files import atomic_path

MAX_PANELS = 6


def draw(ds: xr.Dataset, path: Path, *, sample: int = 0) -> None:
    """Draw the fields of one sample, each at its first and last time, into an image file.

    Args:
        ds: dataset in canonical form.
        path: the image; its suffix chooses the format.
        sample: index of the sample.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    one = ds.isel(sample=sample)
    panels = []
    for name, array in one.data_vars.items():
        if array.ndim == 0:
            continue
        space_time = array.ndim == 2 and "time" in array.dims and "point" not in array.dims
        frames = (0, -1) if "time" in array.dims and not space_time else (None,)
        for frame in frames:
            panels.append((str(name), array if frame is None else array.isel(time=frame), frame))
    panels = panels[:MAX_PANELS]
    figure = Figure(figsize=(3.2 * len(panels), 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    subplots = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, array, frame) in zip(subplots, panels, strict=True):
        units = f" [{array.attrs['units']}]" if array.attrs.get("units") else ""
        when = "" if frame is None else f", t = {float(array['time']):.4g}"
        axes.set_title(f"{name}{units}{when}", fontsize=9)
        _draw_panel(figure, axes, array, one)
    with atomic_path(path) as part:
        figure.savefig(part, dpi=110, format=path.suffix.removeprefix(".") or "png")


def _draw_panel(figure: Any, axes: Any, array: xr.DataArray, one: xr.Dataset) -> None:
    values = np.asarray(array.values, float)
    if "point" in array.dims:
        names = [str(name) for name in one.coords if one[name].dims == ("point",)]
        x, y = (np.asarray(one[name].values) for name in names[:2])
        image = axes.scatter(x, y, c=values, s=4, linewidths=0)
        axes.set_aspect("equal")
    elif "time" in array.dims:
        image = axes.pcolormesh(array[array.dims[1]], array["time"], values, shading="nearest")
        axes.set_xlabel(array.dims[1])
        axes.set_ylabel("time")
    elif array.ndim == 1:
        axes.plot(array[array.dims[0]], values)
        axes.set_xlabel(array.dims[0])
        return
    else:
        image = _draw_plane(axes, array, values)
    figure.colorbar(image, ax=axes, shrink=0.8)


def _draw_plane(axes: Any, array: xr.DataArray, values: np.ndarray) -> Any:
    """The first two axes, at the middle of the others; latitude points upward."""
    while values.ndim > 2:
        values = values[..., values.shape[-1] // 2]
    first, second = array.dims[:2]
    units = str(array[first].attrs.get("units", ""))
    if units.startswith("degrees_n") or "latitude" in array.coords:
        return axes.pcolormesh(array[second], array[first], values, shading="nearest")
    axes.set_aspect("equal")
    return axes.pcolormesh(array[first], array[second], values.T, shading="nearest")
