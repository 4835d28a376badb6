"""Graph calculus: curl of a gradient, adjoints and the Hodge decomposition."""

import pytest
import torch

from fields.nn.graph.calculus import (
    Graph,
    coboundary0,
    coboundary1,
    codifferential,
    complete_graph,
    hodge_decomposition,
    knn_graph,
    mesh_graph,
)

GRID = torch.cartesian_prod(torch.arange(4), torch.arange(4)) / 4.0 - 0.5
PERIODIC = torch.tensor([True, False])


def graphs() -> list[Graph]:
    cells = torch.tensor(
        [[i, (i + 1) % 4, 4 + i] for i in range(4)]
    )  # inner half of a ring with a hole
    cells = torch.cat(
        [cells, torch.tensor([[(i + 1) % 4, 4 + i, 4 + (i + 1) % 4] for i in range(4)])]
    )
    return [complete_graph(5), knn_graph(GRID, PERIODIC, neighbors=5), mesh_graph(cells)]


@pytest.mark.parametrize("graph", graphs(), ids=["complete", "knn", "mesh"])
def test_differences_have_no_circulation_and_adjoints_are_adjoint(graph):
    torch.manual_seed(0)
    up = coboundary0(graph)
    round_ = coboundary1(graph)
    assert len(graph.triangles) > 0 and (round_ @ up == 0).all() and (up.sum(1) == 0).all()
    assert (round_ @ torch.randn(len(up)).double()).abs().max() > 0.1
    for delta in (up, round_):
        w = torch.rand(delta.shape[1]).double() + 0.1
        w2 = torch.rand(delta.shape[0]).double() + 0.1
        v = torch.randn(delta.shape[1]).double()
        u = torch.randn(delta.shape[0]).double()
        left = (w * v) @ (codifferential(delta, w, w2) @ u)
        right = (w2 * (delta @ v)) @ u
        assert abs(left - right) <= 1e-12 * v.norm() * u.norm()


@pytest.mark.parametrize("graph", graphs(), ids=["complete", "knn", "mesh"])
def test_hodge(graph):
    torch.manual_seed(0)
    m = len(graph.edges)
    t = len(graph.triangles)
    f = torch.randn(m, 2).double()
    w1 = torch.rand(m).double() + 0.5
    w2 = torch.rand(t).double() + 0.5
    parts = hodge_decomposition(graph, f, edge_weight=w1, face_weight=w2)
    torch.testing.assert_close(sum(parts), f)
    for i in range(3):
        for j in range(i):
            assert ((w1[:, None] * parts[i]).T @ parts[j]).abs().max() < 1e-10
    up = coboundary0(graph)
    assert (coboundary1(graph) @ parts.harmonic).abs().max() < 1e-10 and (
        up.T @ (w1[:, None] * parts.harmonic)
    ).abs().max() < 1e-10


def test_the_hole_carries_a_harmonic_field_and_the_complete_graph_none():
    complete, _, ring = graphs()
    for graph, harmonic in ((complete, False), (ring, True)):
        f = torch.randn(len(graph.edges), 1, generator=torch.Generator().manual_seed(0)).double()
        parts = hodge_decomposition(
            graph,
            f,
            edge_weight=torch.ones(len(f)).double(),
            face_weight=torch.ones(len(graph.triangles)).double(),
        )
        assert (parts.harmonic.abs().max() > 1e-3) == harmonic


def test_periodic_neighbors_close_the_domain_and_numbers_do_not_matter():
    graph = knn_graph(GRID, PERIODIC, neighbors=2)
    assert [0, 12] in graph.edges.tolist()  # x = −½ and x = ¼ are one spacing apart
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    a = knn_graph(GRID + 1e-3 * torch.arange(16)[:, None] ** 0.5, PERIODIC, neighbors=4)
    b = knn_graph((GRID + 1e-3 * torch.arange(16)[:, None] ** 0.5)[order], PERIODIC, neighbors=4)
    assert {tuple(sorted(e)) for e in order[b.edges].tolist()} == {
        tuple(e) for e in a.edges.tolist()
    }
    with pytest.raises(ValueError, match="Use fewer"):
        knn_graph(GRID, PERIODIC, neighbors=16)
