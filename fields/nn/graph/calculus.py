"""Graph calculus: differences along edges, circulation around triangles, and their adjoints.

    (δ₀φ)ᵢⱼ = φⱼ − φᵢ,   (δ₁A)ᵢⱼₖ = Aᵢⱼ + Aⱼₖ + Aₖᵢ,   δ₁δ₀ = 0,
    ⟨v, δ*u⟩_w = ⟨δv, u⟩_w'   ⇒   δ* = w⁻¹ δᵀ w'

Reference: Lim, Hodge Laplacians on graphs, SIAM Review 2020.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fields.nn.geometry import periodic_coordinates


class Graph(NamedTuple):
    """Edges i → j and triangles (i, j, k) with increasing indices, on ``nodes`` nodes.

    Example:
        >>> graph = complete_graph(4)
        >>> graph.edges.shape, graph.triangles.shape
        (torch.Size([6, 2]), torch.Size([4, 3]))
    """

    nodes: int
    edges: Int[Tensor, "m 2"]
    triangles: Int[Tensor, "t 3"]

    @classmethod
    def of(cls, nodes: int, edges: Int[Tensor, "m 2"]) -> Graph:
        """The graph of these edges and their triangles; uses a matrix of nodes × nodes."""
        edges = torch.unique(edges.sort(dim=1).values[edges[:, 0] != edges[:, 1]], dim=0)
        near = torch.zeros(nodes, nodes, dtype=torch.bool, device=edges.device)
        near[edges[:, 0], edges[:, 1]] = True
        closes = near[edges[:, 0]] & near[edges[:, 1]]  # every k > j with edges i → k and j → k
        edge, third = closes.nonzero(as_tuple=True)
        return cls(nodes, edges, torch.cat([edges[edge], third[:, None]], dim=1))


def complete_graph(nodes: int) -> Graph:
    """The graph with an edge between every two nodes."""
    return Graph.of(nodes, torch.combinations(torch.arange(nodes)))


def knn_graph(pos: Float[Tensor, "n d"], periodic: Bool[Tensor, "d"], *, neighbors: int) -> Graph:
    """Edges from each node to its nearest neighbors; distances respect periodic axes."""
    nodes = len(pos)
    if not 0 < neighbors < nodes:
        raise ValueError(
            f"{nodes} nodes have at most {nodes - 1} neighbors each, got neighbors {neighbors}. "
            "Use fewer."
        )
    places = periodic_coordinates(pos[None], periodic)[0]
    distance = torch.cdist(places, places).fill_diagonal_(torch.inf)
    near = distance.topk(neighbors, largest=False).indices
    start = torch.arange(nodes, device=pos.device)[:, None].expand_as(near)
    return Graph.of(nodes, torch.stack([start, near], dim=-1).reshape(-1, 2))


def mesh_graph(cells: Int[Tensor, "c v"]) -> Graph:
    """The edges and triangles of a mesh of simplices."""
    edges, triangles = (
        torch.unique(
            cells[:, torch.combinations(torch.arange(cells.shape[1]), r)]
            .reshape(-1, r)
            .sort(dim=1)
            .values,
            dim=0,
        )
        for r in (2, 3)
    )
    return Graph(int(cells.max()) + 1, edges, triangles)


def coboundary0(graph: Graph, *, dtype: torch.dtype = torch.float64) -> Float[Tensor, "m n"]:
    """The matrix of δ₀, which maps node values to differences along edges."""
    index = torch.arange(len(graph.edges))
    delta = torch.zeros(len(graph.edges), graph.nodes, dtype=dtype)
    delta[index, graph.edges[:, 0]] = -1
    delta[index, graph.edges[:, 1]] = 1
    return delta


def coboundary1(graph: Graph, *, dtype: torch.dtype = torch.float64) -> Float[Tensor, "t m"]:
    """The matrix of δ₁, which maps edge values to the circulation around each triangle."""
    number = torch.zeros(graph.nodes, graph.nodes, dtype=torch.long)
    number[graph.edges[:, 0], graph.edges[:, 1]] = torch.arange(len(graph.edges))
    i, j, k = graph.triangles.T
    delta = torch.zeros(len(graph.triangles), len(graph.edges), dtype=dtype)
    index = torch.arange(len(graph.triangles))
    delta[index, number[i, j]] = 1
    delta[index, number[j, k]] = 1
    delta[index, number[i, k]] = -1  # A_ki = −A_ik
    return delta


def codifferential(
    delta: Float[Tensor, "m n"], weight_in: Float[Tensor, "n"], weight_out: Float[Tensor, "m"]
) -> Float[Tensor, "n m"]:
    """δ* = w⁻¹ δᵀ w', the adjoint of δ under the inner products with weights w > 0 and w' > 0."""
    return delta.mT * weight_out / weight_in[:, None]


class HodgeDecomposition(NamedTuple):
    """f = gradient + curl + harmonic, orthogonal in the edge weights.

    Example:
        >>> weights = {"edge_weight": torch.ones(6), "face_weight": torch.ones(4)}
        >>> hodge_decomposition(complete_graph(4), torch.ones(6, 1), **weights).curl.shape
        torch.Size([6, 1])
    """

    gradient: Float[Tensor, "m c"]
    curl: Float[Tensor, "m c"]
    harmonic: Float[Tensor, "m c"]


def hodge_decomposition(
    graph: Graph,
    f: Float[Tensor, "m c"],
    *,
    edge_weight: Float[Tensor, "m"],
    face_weight: Float[Tensor, "t"],
) -> HodgeDecomposition:
    r"""f = δ₀φ + δ₁*A + h with δ₀*h = 0 and δ₁h = 0, by least squares in the edge weights.

    The components do not depend on node weights, which only change φ.
    """
    root = edge_weight.sqrt()[:, None]
    up = coboundary0(graph, dtype=f.dtype)
    down = codifferential(coboundary1(graph, dtype=f.dtype), edge_weight, face_weight)
    gradient = up @ torch.linalg.lstsq(root * up, root * f, driver="gelsd").solution
    curl = (
        down @ torch.linalg.lstsq(root * down, root * f, driver="gelsd").solution
        if down.shape[1]
        else torch.zeros_like(f)
    )
    return HodgeDecomposition(gradient, curl, f - gradient - curl)
