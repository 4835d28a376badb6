"""Irregular meshes: areas, an exact potential, stress under pure tension, Kirsch's hole."""

import math

import numpy as np
import pytest

pytest.importorskip("skfem", reason="scikit-fem is not installed")

from datasets.plate import Plate
from datasets.poisson_star import PoissonStar
from datasets.solvers.fem import plate, poisson, shoelace, triangulate


def disc(spacing):
    t = np.linspace(0, 2 * np.pi, round(2 * np.pi / spacing) + 1)[:-1]
    edge = np.stack([np.cos(t), np.sin(t)], axis=1)
    return triangulate(
        [edge], lambda p: np.hypot(*p.T) < 1, spacing=spacing, random=np.random.default_rng(0)
    )


def square(spacing):
    t = np.arange(0, 1, spacing)
    corners = [
        np.stack(s, axis=1)
        for s in ((t, 0 * t), (1 + 0 * t, t), (1 - t, 1 + 0 * t), (0 * t, 1 - t))
    ]
    inside = lambda p: np.abs(p - 0.5).max(1) < 0.5  # noqa: E731
    return triangulate(
        [np.concatenate(corners)], inside, spacing=spacing, random=np.random.default_rng(0)
    )


def test_potential_in_a_disc_converges_with_order_two():
    """−Δu = 4 has u = 1 − r²; the polygon in place of the circle costs order 2."""
    meshes = [disc(s) for s in (0.2, 0.1)]
    errors = [
        np.abs(poisson(m, lambda x, y: 4 + 0 * x) - (1 - (m.p**2).sum(0))).max() for m in meshes
    ]
    assert errors[1] < 2e-3 and 1.6 < math.log2(errors[0] / errors[1]) < 2.6


def test_plate_without_a_void_balances_its_traction():
    """At every height the mean of σ_yy is the traction; far from the clamp stress is uniaxial."""
    mesh = square(1 / 16)
    u, (xx, yy, xy) = plate(mesh, young=2.0, ratio=0.3, traction=1.5)
    top = mesh.p[1] > 1 - 1e-9
    assert yy[mesh.p[1] > 0.8].mean() == pytest.approx(1.5, rel=0.02)
    assert np.abs(xx[top]).max() < 0.1 and np.abs(xy[top]).max() < 0.1
    assert not u[:, mesh.p[1] == 0].any()
    double, _ = plate(mesh, young=4.0, ratio=0.3, traction=3.0)
    np.testing.assert_allclose(double, u, atol=1e-12)


def test_small_void_concentrates_stress_threefold():
    """Kirsch: at the sides of a small round hole under tension σ_yy = 3 times the traction."""
    t = -np.linspace(0, 2 * np.pi, 49)[:-1]
    s = np.linspace(-1, 1, 33)[:-1]
    corners = [
        np.stack(p, axis=1)
        for p in ((s, s * 0 - 1), (s * 0 + 1, s), (-s, s * 0 + 1), (s * 0 - 1, -s))
    ]
    rings = [r * np.stack([np.cos(t), np.sin(t)], axis=1) for r in (0.1, 0.115, 0.135, 0.16, 0.19)]
    inside = lambda p: (np.abs(p).max(1) < 1) & (np.hypot(*p.T) > 0.0995)  # noqa: E731
    from scipy.spatial import Delaunay
    from skfem import MeshTri

    lattice = np.stack(np.meshgrid(*[np.linspace(-0.95, 0.95, 31)] * 2), axis=-1).reshape(-1, 2)
    points = np.concatenate([*corners, *rings, lattice[np.hypot(*lattice.T) > 0.22]])
    triangles = Delaunay(points).simplices
    triangles = triangles[inside(points[triangles].mean(1))]
    mesh = MeshTri(np.ascontiguousarray(points.T), np.ascontiguousarray(triangles.T))
    _, (_, yy, _) = plate(mesh, young=1.0, ratio=0.3, traction=1.0)
    side = np.argmin(np.linalg.norm(mesh.p.T - [0.1, 0], axis=1))
    assert yy[side] == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("problem", [PoissonStar(), Plate()], ids=["poisson_star", "plate"])
def test_random_domains_mesh_and_solve(problem):
    for index in range(25):  # raises where the triangles do not fill the domain
        mesh, edge = problem.mesh(problem.random(1, index), spacing=1 / 20)
        assert mesh.is_valid() and len(edge) >= 12
    ds = problem.solve(range(3), resolution=20, seed=1)
    real = ds["x"].notnull()
    assert len(set(real.sum("point").values.tolist())) > 1
    for name in ds.data_vars:
        assert (ds[name].notnull() == real).all()
    assert (ds["distance"].where(real, 0) >= 0).all()


def test_potential_vanishes_on_the_boundary_only():
    ds = PoissonStar().solve(range(2), resolution=20, seed=0)
    edge = (ds["distance"] == 0).values
    assert np.abs(ds["u"].values[edge]).max() < 1e-12 and edge.sum() > 80


def test_stress_balances_the_traction_through_the_ligament():
    ds = Plate().solve(range(2), resolution=34, seed=0)
    assert 1.0 < float(ds["stress"].max()) < 40
    assert (
        ds["v"].where(ds["y"] > 0.99).mean("point") > 1
    ).all()  # softer than the plate without a void


def test_area_of_a_polygon():
    assert shoelace(np.array([[0, 0], [2, 0], [2, 1], [0, 1]])) == 2


def test_too_few_points_are_refused():
    for problem in (PoissonStar(), Plate()):
        with pytest.raises(ValueError, match="at least 16"):
            problem.solve(range(1), resolution=8, seed=0)
