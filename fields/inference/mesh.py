"""Which requested points lie in the mesh of a sample: a hole of the mesh has no field."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from fields.core.sample import Schema

NEAREST = 32  # triangles tried first, by their centers
AT_ONCE = 2**20  # pairs of point and triangle that are tested together
# Barycentric coordinates may be this far below 0, so that rounding loses no point of the boundary.
SLACK = 1e-5


def inside_meshes(
    points: Float[np.ndarray, "m d"], ds: xr.Dataset, schema: Schema
) -> Bool[np.ndarray, "b m"] | None:
    """Which points lie in the triangles of each sample; None if the data state no plane mesh.

    Args:
        points: requested points, in physical units.
        ds: coordinates over ``point``, and ``triangles`` over (``triangle``, ``corner``) with the
            numbers of their nodes.
        schema: names of the coordinates.
    """
    if schema.dim != 2 or "point" not in ds.dims or "triangles" not in ds.variables:
        return None
    shared = all("sample" not in ds[name].dims for name in (*schema.coords, "triangles"))
    samples = ds.sizes.get("sample", 1)
    found = []
    for i in range(1 if shared else samples):
        one = ds[[*schema.coords, "triangles"]]
        one = one.isel(sample=i) if "sample" in one.dims else one
        nodes = np.stack([np.asarray(one[name], dtype=np.float64) for name in schema.coords], -1)
        corners = np.asarray(one["triangles"].transpose(..., "corner"))[:, :3].astype(np.int64)
        found.append(inside_mesh(points, nodes, corners))
    return np.broadcast_to(np.stack(found), (samples, len(points)))


def inside_mesh(
    points: Float[np.ndarray, "m 2"],
    nodes: Float[np.ndarray, "n 2"],
    triangles: Int[np.ndarray, "t 3"],
) -> Bool[np.ndarray, "m"]:
    """Which points lie in a triangle, tested by barycentric coordinates.

    Example:
        >>> nodes = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> points = np.array([[0.2, 0.2], [0.8, 0.8]])
        >>> inside_mesh(points, nodes, np.array([[0, 1, 2]])).tolist()
        [True, False]
    """
    triangles = triangles[(triangles >= 0).all(1) & (triangles < len(nodes)).all(1)]
    corners = nodes[triangles]
    corners = corners[np.isfinite(corners).all((1, 2))]
    if not len(corners):
        return np.ones(len(points), dtype=bool)
    tree = KDTree(corners.mean(1))
    near = tree.query(points, k=min(NEAREST, len(corners)))[1].reshape(len(points), -1)
    inside = np.asarray(_contained(points[:, None], corners[near]).any(1))
    # A triangle that is much larger than its neighbors may contain a point far from its center.
    for chunk in np.array_split(
        np.flatnonzero(~inside), max(1, (~inside).sum() * len(corners) // AT_ONCE)
    ):
        inside[chunk] = _contained(points[chunk][:, None], corners[None]).any(1)
    return inside


def _contained(
    points: Float[np.ndarray, "m #t 2"], corners: Float[np.ndarray, "#m t 3 2"]
) -> Bool[np.ndarray, "m t"]:
    first = corners[..., 0, :]
    one = corners[..., 1, :] - first
    two = corners[..., 2, :] - first
    offset = points - first
    area = one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (offset[..., 0] * two[..., 1] - offset[..., 1] * two[..., 0]) / area
        b = (one[..., 0] * offset[..., 1] - one[..., 1] * offset[..., 0]) / area
    return (a >= -SLACK) & (b >= -SLACK) & (a + b <= 1 + SLACK)
