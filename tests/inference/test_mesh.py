"""Requested points in a hole of the mesh have no value."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.spatial import Delaunay

import fields
from fields.inference.mesh import inside_mesh


def square_with_hole(center: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and triangles of the unit square without a square of side 0.4."""
    axis = np.linspace(0, 1, 21)
    nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    triangles = Delaunay(nodes).simplices
    middle = nodes[triangles].mean(1)
    return nodes, triangles[(np.abs(middle - center) > 0.2).any(1)]


def test_points_in_the_hole_and_outside_are_outside_the_mesh():
    nodes, triangles = square_with_hole(0.5)
    points = np.random.default_rng(0).uniform(-0.2, 1.2, (4000, 2))
    hole = (np.abs(points - 0.5) < 0.2 - 1e-4).all(1)
    square = ((points >= 0) & (points <= 1)).all(1)
    clear = (np.abs(np.abs(points - 0.5) - 0.2) > 1e-3).all(1)
    got = inside_mesh(points, nodes, triangles)
    np.testing.assert_array_equal(got[clear], (square & ~hole)[clear])
    assert inside_mesh(nodes[np.unique(triangles)], nodes, triangles).all()  # the boundary is in


def test_a_large_triangle_among_many_small_ones_is_found():
    nodes, triangles = square_with_hole(0.5)
    large = np.concatenate([nodes, [[1.0, 0.0], [9.0, 0.5], [1.0, 1.0]]])
    corners = np.concatenate([triangles, [[len(nodes), len(nodes) + 1, len(nodes) + 2]]])
    points = np.array([[1.01, 0.5], [8.9, 0.5], [8.9, 0.9]])
    assert inside_mesh(points, large, corners).tolist() == [True, True, False]


def test_a_prediction_is_nan_in_the_hole_of_every_sample():
    model = fields.load("holed_poisson")
    centers = (0.4, 0.6)
    meshes = [square_with_hole(center) for center in centers]
    count = max(len(triangles) for _, triangles in meshes)
    nodes = np.stack([mesh[0] for mesh in meshes])
    widths = [((0, count - len(triangles)), (0, 0)) for _, triangles in meshes]
    corners = np.stack(
        [np.pad(m[1], width, mode="edge") for m, width in zip(meshes, widths, strict=True)]
    )
    wall = np.minimum(nodes, 1 - nodes).min(-1)
    away = np.abs(nodes - np.array(centers)[:, None, None]).max(-1)
    dims = ("sample", "point")
    ds = xr.Dataset(
        {
            "area": (dims, np.full(wall.shape, 0.84 / wall.shape[1])),
            "hole": (dims, np.maximum(away - 0.2, 0)),
            "wall": (dims, wall),
        },
        coords={
            "x": (dims, nodes[..., 0]),
            "y": (dims, nodes[..., 1]),
            "triangles": (("sample", "triangle", "corner"), corners),
        },
    )
    axis = np.linspace(0.01, 0.99, 30)
    u = model.predict(ds, at={"x": axis, "y": axis}).u
    for i, center in enumerate(centers):
        hole = (abs(u.x - center) < 0.199) & (abs(u.y - center) < 0.199)
        clear = (abs(u.x - center) > 0.201) | (abs(u.y - center) > 0.201)
        assert bool(np.isnan(u[i]).where(hole, True).all())
        assert bool(np.isfinite(u[i]).where(clear, True).all())
    bare = model.predict(ds.drop_vars("triangles"), at={"x": axis, "y": axis}).u
    assert bool(np.isfinite(bare).all())
    np.testing.assert_array_equal(u.where(np.isfinite(u), bare), bare)
