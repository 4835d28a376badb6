"""Soft incidence matrices: kernel, norm bounds, and exact gradients."""

import pytest
import torch
from helpers.physics import DIM, context, shaken

from fields.flows.graph_hamiltonian import GraphHamiltonianField
from fields.integrators.cayley import cayley_rotation
from fields.nn.graph.incidence import Coboundary, coboundary


@pytest.mark.parametrize("edges", [None, 5])
@pytest.mark.parametrize("sharpness", [0.3, 30.0])
def test_incidence_kills_constants_and_is_bounded(edges, sharpness):
    torch.manual_seed(0)
    f = shaken(GraphHamiltonianField(DIM, edges=edges), by=sharpness)
    z, where = context()
    d = f.operator(z, where).matrix
    assert torch.linalg.matrix_norm(d, 2).square().max() <= 2 + 1e-12
    head, tail = torch.rand(2, 3, 2, 9, 7, dtype=z.dtype).softmax(-1)
    weight = torch.rand(3, 2, 9, dtype=z.dtype)
    mass = (weight[..., None] * (head + tail)).sum(-2)
    assert (
        coboundary(torch.cat([head, tail], 2), weight).matrix @ mass.sqrt()[..., None]
    ).abs().max() < 1e-13
    one_hot = torch.eye(4, dtype=z.dtype)[None, None]
    laplacian = coboundary(one_hot[..., [1, 2, 3, 0, 1, 2], :], torch.ones(1, 1, 3)).matrix
    degree = torch.tensor([1.0, 2, 2, 1]).double()
    path = torch.diag(torch.ones(3).double(), 1) + torch.diag(torch.ones(3).double(), -1)
    expected = torch.eye(4).double() - path / (degree[:, None] * degree).sqrt()
    torch.testing.assert_close((laplacian.mT @ laplacian)[0, 0], expected, atol=1e-12, rtol=0)


def test_flipping_every_edge_changes_nothing_on_the_nodes():
    torch.manual_seed(0)
    head, tail = torch.randn(2, 3, 2, 5, 9, dtype=torch.float64).softmax(-1)
    weight = torch.rand(3, 2, 5, dtype=torch.float64)
    q = torch.randn(3, 2, 9, 4, dtype=torch.float64)
    p = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    a = cayley_rotation(coboundary(torch.cat([head, tail], 2), weight), torch.tensor(0.5), q, p)
    b = cayley_rotation(coboundary(torch.cat([tail, head], 2), weight), torch.tensor(0.5), q, -p)
    torch.testing.assert_close(a[0], b[0], atol=1e-12, rtol=0)
    torch.testing.assert_close(a[1], -b[1], atol=1e-12, rtol=0)


def test_a_frozen_operator_keeps_the_weighted_mean_of_the_nodes():
    torch.manual_seed(0)
    head, tail = torch.randn(2, 3, 2, 9, 7, dtype=torch.float64).softmax(-1)
    weight = torch.rand(3, 2, 9, dtype=torch.float64)
    root = (weight[..., None] * (head + tail)).sum(-2).sqrt()[..., None]
    q = torch.randn(3, 2, 7, 4, dtype=torch.float64)
    p = torch.randn(3, 2, 9, 4, dtype=torch.float64)
    mean = lambda q: (root * q).sum(-2)  # noqa: E731
    d = coboundary(torch.cat([head, tail], 2), weight)
    x = (q, p)
    for _ in range(20):
        x = cayley_rotation(d, torch.tensor(0.5), *x)
    torch.testing.assert_close(mean(x[0]), mean(q), atol=1e-12, rtol=1e-12)
    assert (x[0] - q).norm() > 0.1 * q.norm()


def test_gradients_of_the_coboundary_are_those_of_its_formula():
    torch.manual_seed(0)
    score = torch.randn(2, 2, 6, 5).double().requires_grad_()
    weight = torch.rand(2, 2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s, w: coboundary(s.softmax(-1), w).matrix, (score, weight)
    )


@pytest.mark.parametrize("nodes", [2, 5])
def test_gradients_of_a_cayley_step_are_those_of_finite_differences(nodes):
    torch.manual_seed(0)
    d, q, p = (
        torch.randn(1, 2, *shape).double().requires_grad_()
        for shape in ((3, nodes), (nodes, 2), (3, 2))
    )
    h = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda d, h, q, p: cayley_rotation(Coboundary(d), h, q, p), (d, h, q, p)
    )
