"""Drawing one field at the points of a grid of any spacing, or at scattered points with holes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import Collection
from matplotlib.tri import Triangulation

# A triangle spans a hole if an edge is this much longer than the spacing at its corners.
LONG_EDGE = 3.5

# Share of scattered 3-D points that are drawn as the middle plane.
SLAB = 0.1


def draw_line(
    axes: Axes, points: Float[np.ndarray, "m 1"], values: Float[np.ndarray, "m"], **options: object
) -> None:
    """Draw a field of one coordinate as a line, with markers if there are at most 40 points.

    Args:
        axes: where to draw.
        points, values: of the field, in any order.
        options: of ``axes.plot``.
    """
    order = np.argsort(points[:, 0])
    axes.plot(points[order, 0], values[order], marker="." if len(order) <= 40 else "", **options)  # type: ignore[arg-type]
    axes.margins(x=0.02)


def draw_image(
    axes: Axes,
    points: Float[np.ndarray, "m 2"],
    values: Float[np.ndarray, "m"],
    *,
    limits: tuple[float, float] | None,
    colors: str,
) -> Collection:
    """Draw a field of two coordinates in colors.

    Args:
        axes: where to draw.
        points, values: of the field, in any order.
        limits: of the color scale; by default those of the values.
        colors: name of the color map.
    """
    low, high = limits if limits is not None else (None, None)
    options = {"cmap": colors, "vmin": low, "vmax": high, "rasterized": True}
    grid = plot_axes(points)
    if grid is not None:
        (x, y), order = grid
        drawn = axes.pcolormesh(
            x, y, values[order].reshape(len(x), len(y)).T, shading="nearest", **options
        )
    else:
        finite = np.isfinite(values)
        drawn = axes.tripcolor(
            triangulate(points[finite]), values[finite], shading="gouraud", **options
        )
    axes.set_aspect("equal" if _similar(points) else "auto")
    axes.locator_params(nbins=4)
    axes.grid(False)
    return drawn


def value_setter(
    drawn: ScalarMappable, points: Float[np.ndarray, "m 2"]
) -> Callable[[Float[np.ndarray, "m"]], None]:
    """A function that sets other values at the points of what :func:`draw_image` has drawn."""
    grid = plot_axes(points)
    if grid is None:
        return drawn.set_array
    (x, y), order = grid
    return lambda values: drawn.set_array(values[order].reshape(len(x), len(y)).T)


def aspect_ratio(points: Float[np.ndarray, "m d"]) -> float:
    """Height over width of the image of a field of two or three coordinates, 0.4 to 1.6.

    Example:
        >>> aspect_ratio(np.array([[0.0, 0.0], [2.0, 1.0]]))
        0.5
    """
    x, y = np.ptp(points[:, :2], axis=0)
    return float(np.clip(y / x, 0.4, 1.6)) if _similar(points) else 0.8


def _similar(points: np.ndarray) -> bool:
    """Whether the extents differ by less than a factor of 4; else the image fills its axes."""
    x, y = np.ptp(points[:, :2], axis=0)
    return bool(0.25 * x < y < 4 * x)


def symmetric_limits(errors: Float[np.ndarray, "..."]) -> tuple[float, float]:
    """(−e, e) with the largest finite |error| e.

    Example:
        >>> symmetric_limits(np.array([0.5, -2.0, np.nan]))
        (-2.0, 2.0)
    """
    largest = float(np.abs(errors[np.isfinite(errors)]).max(initial=0.0)) or 1e-12
    return -largest, largest


def plot_axes(points: Float[np.ndarray, "m d"]) -> tuple[list[np.ndarray], np.ndarray] | None:
    """The axes of a full grid, and the order of its points with the first axis slowest.

    Scattered points give None.
    """
    span = np.ptp(points, axis=0)
    keys = np.round((points - points.min(axis=0)) / np.where(span > 0, span, 1) * 1e6).astype(
        np.int64
    )
    lengths = [len(np.unique(column)) for column in keys.T]
    if prod(lengths) != len(points) or len(np.unique(keys, axis=0)) != len(points):
        return None
    order = np.lexsort(keys.T[::-1])
    grid = points[order].reshape(*lengths, points.shape[1])
    first = [
        tuple(slice(None) if j == i else 0 for j in range(len(lengths)))
        for i in range(len(lengths))
    ]
    return [grid[(*where, i)] for i, where in enumerate(first)], order


def triangulate(points: Float[np.ndarray, "m 2"]) -> Triangulation:
    """Delaunay triangulation without the triangles that span holes and concave parts of the domain.

    A triangle is dropped if an edge is longer than `LONG_EDGE` times the local spacing. The spacing
    at a point is the median length of its edges, which adapts to refined meshes, and of this the
    median over its neighbors: a point at which many long edges across a hole meet would have too
    large a spacing otherwise.
    """
    mesh = Triangulation(points[:, 0], points[:, 1])
    start, end = np.concatenate([mesh.edges, mesh.edges[:, ::-1]]).T
    spacing = _median_by_point(
        start, np.linalg.norm(points[start] - points[end], axis=-1), len(points)
    )
    spacing = _median_by_point(start, spacing[end], len(points))
    corners = points[mesh.triangles]
    longest = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=-1).max(axis=1)
    mesh.set_mask(longest > LONG_EDGE * spacing[mesh.triangles].max(axis=1))
    return mesh


def _median_by_point(owner: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Upper median of the values of each owner 0 … count − 1; 0 for one without any value."""
    order = np.lexsort((values, owner))
    degree = np.bincount(owner, minlength=count)
    middle = np.cumsum(degree) - degree + degree // 2
    return np.where(degree > 0, values[order][np.minimum(middle, len(values) - 1)], 0.0)


def middle_plane(
    points: Float[np.ndarray, "m d"], values: Float[np.ndarray, "m"]
) -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, "k"], str]:
    """The middle plane of a 3-D field, with a note on its position; a 2-D field is unchanged.

    Of scattered points it is a slab with a tenth of them.

    Returns:
        Points and values in the plane, and a text such as ", middle plane 0.5".

    Raises:
        ValueError: the field has neither two nor three coordinates.
    """
    if points.shape[1] == 2:
        return points, values, ""
    if points.shape[1] != 3:
        raise ValueError(
            f"A field of {points.shape[1]} coordinates cannot be drawn. Select a slice with at "
            "most 3 coordinates."
        )
    depth = points[:, 2]
    grid = plot_axes(points)
    if grid is not None:
        height = grid[0][2][len(grid[0][2]) // 2]
        near = np.isclose(depth, height, rtol=0, atol=1e-6 * max(np.ptp(depth), 1e-300))
    else:
        # A value that occurs: if the points lie in planes, such as times, it is one of these.
        height = np.quantile(depth, 0.5, method="lower")
        far = np.abs(depth - height)
        count = min(max(int(SLAB * len(depth)), 3), len(depth)) - 1
        near = far <= np.partition(far, count)[count]
    return points[near, :2], values[near], f", middle plane {height:.3g}"
