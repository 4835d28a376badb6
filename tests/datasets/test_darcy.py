"""Darcy: the solver against manufactured solutions, the data against their recipe."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

from datasets.darcy import Darcy
from datasets.solvers import darcy

SMALL = Darcy(nodes=43)


def random_coefficient(nodes: int) -> np.ndarray:
    return np.where(np.random.default_rng(0).random((nodes, nodes)) > 0.5, 12.0, 3.0)


def test_solver_has_order_two():
    """u = sin πx · sin 2πy, a = 2 + cos πx · y."""

    def error(nodes):
        t = np.linspace(0, 1, nodes)
        x, y = np.meshgrid(t, t, indexing="ij")
        u = np.sin(np.pi * x) * np.sin(2 * np.pi * y)
        a = 2 + np.cos(np.pi * x) * y
        a_x = -np.pi * np.sin(np.pi * x) * y
        a_y = np.cos(np.pi * x)
        u_x = np.pi * np.cos(np.pi * x) * np.sin(2 * np.pi * y)
        u_y = 2 * np.pi * np.sin(np.pi * x) * np.cos(2 * np.pi * y)
        return np.abs(darcy.solve(a, 5 * np.pi**2 * a * u - a_x * u_x - a_y * u_y)[0] - u).max()

    assert 1.9 < math.log2(error(33) / error(65)) < 2.1


def test_solver_equals_a_direct_sparse_solve():
    a = random_coefficient(20)
    n = 20
    columns = np.eye(n * n).reshape(-1, n, n)[np.pad(np.ones((n - 2, n - 2), bool), 1).ravel()]
    matrix = sp.csc_matrix(np.stack([darcy.apply(a, column).ravel() for column in columns], axis=1))
    assert abs(matrix - matrix.T).max() < 1e-9
    direct = spsolve(matrix, np.ones((n - 2) ** 2))
    u, residual = darcy.solve(a, np.ones((n, n)))
    np.testing.assert_allclose(u[1:-1, 1:-1].ravel(), direct, rtol=1e-8)
    assert residual <= 2 * darcy.TOLERANCE
    assert not u[0].any() and not u[-1].any() and not u[:, 0].any() and not u[:, -1].any()


def test_flux_out_of_the_square_equals_the_source_in_it():
    """Five-point differences conserve exactly, so the edge fluxes carry away all of f = 1."""
    a = random_coefficient(33)
    n = 33
    u, _ = darcy.solve(a, np.ones((n, n)))
    out = sum(
        ((b[0] + b[1]) / 2 * w[1])[1:-1].sum()
        for b, w in [(a, u), (a[::-1], u[::-1]), (a.T, u.T), (a.T[::-1], u.T[::-1])]
    )
    assert out == pytest.approx((n - 2) ** 2 / (n - 1) ** 2, rel=1e-9)


def test_solver_refuses_a_coefficient_that_is_not_positive():
    with pytest.raises(ValueError, match="positive"):
        darcy.solve(-random_coefficient(12), np.ones((12, 12)))


@pytest.mark.parametrize("resolution", [85, 141, 211, 421, 64])
def test_usual_resolutions_are_strides_of_421_nodes(resolution):
    nodes = Darcy().grid(resolution)
    assert nodes == (442 if resolution == 64 else 421)


def test_other_resolutions_are_the_same_functions():
    coarse, fine = (SMALL.solve(range(2), resolution=r, seed=1) for r in (22, 43))
    for name in ("a", "u", "x", "y"):
        stride = (..., slice(None, None, 2), slice(None, None, 2))[-fine[name].ndim :]
        np.testing.assert_array_equal(coarse[name], fine[name].values[stride])
    assert (fine["residual"] < 1e-9).all()


def test_coefficient_has_the_published_covariance():
    """Fraction of both phases, and P(equal signs at distance) = ½ + asin(ρ)/π for Gaussian g."""
    a = np.stack([SMALL.coefficient(i, seed=0, nodes=9) for i in range(300)])
    assert set(np.unique(a)) == {3.0, 12.0}
    k = np.arange(60)
    variance = (3 / (np.pi**2 * (k[:, None] ** 2 + k**2) + 9)) ** 2
    variance[0, 0] = 0
    phi = np.cos(np.pi * np.outer([0.5, 0.75], k)) * np.where(k > 0, np.sqrt(2), 1)
    c = np.einsum("ik,jk,kl,l,l->ij", phi, phi, variance, phi[0], phi[0])  # g at (½, ½) and (¾, ½)
    rho = c[0, 1] / np.sqrt(c[0, 0] * c[1, 1])
    assert (a[:, 4, 4] == a[:, 6, 4]).mean() == pytest.approx(
        0.5 + np.arcsin(rho) / np.pi, abs=0.08
    )


@pytest.mark.parametrize("move", [np.flipud, np.fliplr, np.transpose])
def test_declared_symmetries_hold(move):
    a = random_coefficient(24)
    u = darcy.solve(a, np.ones_like(a))[0]
    moved = darcy.solve(move(a), np.ones_like(a))[0]
    np.testing.assert_allclose(moved, move(u), atol=1e-11)
    assert Darcy().symmetries() == [{"flip": ["x"]}, {"flip": ["y"]}, {"permute": ["y", "x"]}]


def test_too_few_nodes_are_refused():
    with pytest.raises(ValueError, match="at least 3"):
        SMALL.solve(range(1), resolution=2, seed=0)
