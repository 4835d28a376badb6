"""Finite elements on triangulated domains: irregular meshes, quadratic elements by scikit-fem.

scikit-fem is needed by two problems only and imported when they solve: `pip install
bracketfields[fem]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import Delaunay, KDTree

if TYPE_CHECKING:
    from skfem import Basis
    from skfem.element import DiscreteField

Curve = Float[np.ndarray, "n 2"]  # a closed polygon, without repeating its first corner
Inside = Callable[[Float[np.ndarray, "n 2"]], Bool[np.ndarray, "n"]]


def triangulate(
    boundaries: list[Curve], inside: Inside, *, spacing: float, random: np.random.Generator
) -> Any:
    """Delaunay mesh of the corners of closed polygons and a jittered hexagonal lattice inside.

    The polygons' edges should be about `spacing` long. Lattice points nearer than 0.7 spacings to a
    corner are left out, so that edges of the boundary become edges of the mesh; that the triangles
    fill the domain is checked by their area.
    """
    from skfem import MeshTri

    edge = np.concatenate(boundaries)
    low = edge.min(0)
    high = edge.max(0)
    rows = np.arange(low[1], high[1], spacing * np.sqrt(0.75))
    columns = np.arange(low[0], high[0], spacing)
    lattice = np.stack(np.meshgrid(columns, rows), axis=-1)
    lattice[1::2, :, 0] += spacing / 2
    points = lattice.reshape(-1, 2) + random.uniform(-0.15, 0.15, (lattice.size // 2, 2)) * spacing
    points = points[inside(points)]
    points = np.concatenate([edge, points[KDTree(edge).query(points)[0] > 0.7 * spacing]])
    triangles = Delaunay(points).simplices
    triangles = triangles[inside(points[triangles].mean(axis=1))]
    corners = points[triangles]
    area = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / 2
    triangles = triangles[area > 1e-9 * spacing**2]
    wanted = abs(sum(shoelace(curve) for curve in boundaries))
    if abs(area.sum() - wanted) > 1e-3 * wanted:
        raise ArithmeticError(
            f"The mesh covers {area.sum():.4f} of an area of {wanted:.4f}: take a smaller spacing."
        )
    return MeshTri(np.ascontiguousarray(points.T), np.ascontiguousarray(triangles.T))


def shoelace(curve: Curve) -> float:
    """Signed area of a polygon, positive if it runs counter-clockwise; holes run clockwise."""
    x, y = curve.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def poisson(
    mesh: Any, source: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Float[np.ndarray, "n"]:
    """−Δu = f, u = 0 on the boundary, by quadratic elements; u at the mesh's points."""
    from skfem import Basis, ElementTriP2, LinearForm, condense, solve
    from skfem.models.poisson import laplace

    basis = Basis(mesh, ElementTriP2())
    load = LinearForm(lambda v, w: source(w.x[0], w.x[1]) * v).assemble(basis)
    u = cast(np.ndarray, solve(*condense(laplace.assemble(basis), load, D=basis.get_dofs())))
    return u[_nodal(basis)[0]]


def plate(
    mesh: Any, *, young: float, ratio: float, traction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Plane stress of a plate clamped at y = 0 and pulled upwards at its top by `traction`.

    Quadratic elements.

    Returns the displacement (2 n) and the stress (σ_xx, σ_yy, σ_xy) (3 n) at the mesh's points, the
    latter projected on linear elements.
    """
    from skfem import (
        Basis,
        ElementTriP1,
        ElementTriP2,
        ElementVector,
        FacetBasis,
        LinearForm,
        condense,
        solve,
    )
    from skfem.models.elasticity import linear_elasticity

    # Lamé constants of plane stress
    shear = young / (2 * (1 + ratio))
    first = young * ratio / (1 - ratio**2)
    basis = Basis(mesh, ElementVector(ElementTriP2()))
    top, bottom = (
        mesh.facets_satisfying(lambda x, y=y: np.isclose(x[1], y))
        for y in (mesh.p[1].max(), mesh.p[1].min())
    )
    pull = LinearForm(lambda v, w: traction * v[1]).assemble(
        FacetBasis(mesh, ElementVector(ElementTriP2()), facets=top)
    )
    stiffness = linear_elasticity(first, shear).assemble(basis)
    u = cast(np.ndarray, solve(*condense(stiffness, pull, D=basis.get_dofs(bottom))))
    slope = np.asarray(cast("DiscreteField", basis.interpolate(u)).grad)
    strain = (slope + np.swapaxes(slope, 0, 1)) / 2
    pressure = first * (strain[0, 0] + strain[1, 1])
    stress = (
        2 * shear * strain[0, 0] + pressure,
        2 * shear * strain[1, 1] + pressure,
        2 * shear * strain[0, 1],
    )
    linear = basis.with_element(ElementTriP1())
    return u[_nodal(basis)], np.stack([linear.project(s) for s in stress])


def _nodal(basis: Basis) -> Int[np.ndarray, "c n"]:
    """Number of each component's unknown at each of the mesh's points."""
    assert basis.nodal_dofs is not None
    return basis.nodal_dofs
