"""Hat functions: continuous, piecewise linear interpolation between scattered nodes."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import ConvexHull, Delaunay
from torch import Tensor

SHEAR = 1e-3  # makes the choice of the diagonal the same for all cells of a regular grid


def hat_basis(
    y: Float[Tensor, "m d"], nodes: Float[Tensor, "k d"], periodic: Bool[Tensor, "d"]
) -> tuple[Int[Tensor, "m v"], Float[Tensor, "m v"]]:
    r"""The v = d + 1 hat functions that are nonzero at each point: their nodes and their values.

        φᵢ(y) ≥ 0,   Σᵢ φᵢ(y) = 1,   Σᵢ φᵢ(y) xᵢ = y

    In one dimension they interpolate linearly between neighboring nodes, otherwise by barycentric
    coordinates on the simplices of the Delaunay mesh. A point outside the convex hull of the nodes
    takes the value at the point where the line to the center meets the hull (in one dimension, the
    value of the last node). Values are differentiable in y and in the nodes; Qhull computes the
    mesh on the CPU. Unit coordinates: periodic axes have period 1.

    Example:
        >>> y, nodes = torch.tensor([[0.1]]), torch.tensor([[0.0], [0.4]])
        >>> hat_basis(y, nodes, torch.tensor([False]))
        (tensor([[0, 1]]), tensor([[0.7500, 0.2500]]))
    """
    copies, owner = _periodic_copies(nodes, periodic)
    y = torch.where(periodic, y - torch.floor(y + 0.5), y)
    return (
        _on_line(y, copies, owner) if nodes.shape[-1] == 1 else _on_mesh(y, copies, owner, periodic)
    )


def _periodic_copies(nodes: Tensor, periodic: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes with their copies one period away, and the index of the node of each copy."""
    shifts = itertools.product(*((-1.0, 0.0, 1.0) if p else (0.0,) for p in periodic.tolist()))
    home = torch.where(periodic, nodes - torch.floor(nodes + 0.5), nodes)
    shifted = [home + home.new_tensor(shift) for shift in shifts]
    owner = torch.arange(len(nodes), device=nodes.device).repeat(len(shifted))
    return torch.cat(shifted), owner


def _on_line(y: Tensor, copies: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    order = copies[:, 0].argsort()
    at = copies[order, 0]
    owner = owner[order]
    if len(at) == 1:
        return owner.expand(len(y), 2), y.new_tensor([1.0, 0.0]).expand(len(y), 2)
    right = torch.searchsorted(at.detach(), y[:, 0].detach().contiguous()).clamp(1, len(at) - 1)
    step = (at[right] - at[right - 1]).clamp_min(torch.finfo(y.dtype).tiny)
    t = ((y[:, 0] - at[right - 1]) / step).clamp(0, 1)
    return torch.stack([owner[right - 1], owner[right]], -1), torch.stack([1 - t, t], -1)


def _on_mesh(y: Tensor, copies: Tensor, owner: Tensor, periodic: Tensor) -> tuple[Tensor, Tensor]:
    d = y.shape[-1]
    if len(copies) <= d:
        raise ValueError(
            f"Hat functions in {d} dimensions need at least {d + 1} nodes, got {len(copies)}. "
            "Use more tokens."
        )
    y = _into_hull(y, copies, periodic)
    shear = np.eye(d) + SHEAR * np.triu(np.ones((d, d)), 1)
    points, nodes = (p.detach().cpu().double().numpy() @ shear for p in (y, copies))
    mesh = Delaunay(nodes)
    cell = mesh.find_simplex(points, tol=1e-9)
    corners = torch.as_tensor(mesh.simplices[cell], device=y.device).long()
    at = copies[corners]
    rest = torch.linalg.solve((at[:, 1:] - at[:, :1]).mT, y - at[:, 0])
    weights = torch.cat([1 - rest.sum(-1, keepdim=True), rest], -1)
    weights = weights.clamp_min(0)  # rounding leaves −1e-16 on edges
    return owner[corners], weights / weights.sum(-1, keepdim=True)


def _into_hull(y: Tensor, copies: Tensor, periodic: Tensor) -> Tensor:
    """Move points outside the hull towards the center, along non-periodic axes, onto the hull."""
    points = y.detach().cpu().double().numpy()
    nodes = copies.detach().cpu().double().numpy()
    closed = periodic.cpu().numpy()
    facets = ConvexHull(nodes).equations  # n·x + c ≤ 0 inside
    base = np.where(closed, points, nodes.mean(0))
    speed = (points - base) @ facets[:, :-1].T  # towards each facet
    room = -(base @ facets[:, :-1].T + facets[:, -1])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(speed > 0, room / speed, 1.0).min(1).clip(0, 1)
    if not (share < 1).any():
        return y
    base = torch.where(periodic, y, copies.mean(0))
    return base + torch.as_tensor(share, device=y.device, dtype=y.dtype)[:, None] * (y - base)
