"""Hat functions: continuous piecewise linear interpolation between scattered nodes."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import ConvexHull, Delaunay
from torch import Tensor

SHEAR = 1e-3  # decides, the same way everywhere, which diagonal cuts the cells of a regular grid


def hat_basis(
    y: Float[Tensor, "m d"], nodes: Float[Tensor, "k d"], periodic: Bool[Tensor, "d"]
) -> tuple[Int[Tensor, "m v"], Float[Tensor, "m v"]]:
    r"""The v = d + 1 hat functions that do not vanish at each point: their nodes and their values.

        φᵢ(y) ≥ 0,   Σᵢ φᵢ(y) = 1,   Σᵢ φᵢ(y) xᵢ = y

    On a line between neighboring nodes, else barycentric coordinates on the simplices of the
    Delaunay mesh. A point outside the nodes' hull takes the value of the point where its way to the
    middle meets the hull (on a line: of the last node). Values are differentiable in y and in the
    nodes; the mesh is made on the host, by Qhull.

    Unit coordinates; periodic axes have period 1.
    """
    images, owner = _images(nodes, periodic)
    y = torch.where(periodic, y - torch.floor(y + 0.5), y)
    return (
        _on_line(y, images, owner) if nodes.shape[-1] == 1 else _on_mesh(y, images, owner, periodic)
    )


def _images(nodes: Tensor, periodic: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and their copies one period to each side, and the node that each is a copy of."""
    shifts = itertools.product(*((-1.0, 0.0, 1.0) if p else (0.0,) for p in periodic.tolist()))
    home = torch.where(periodic, nodes - torch.floor(nodes + 0.5), nodes)
    shifted = [home + home.new_tensor(shift) for shift in shifts]
    owner = torch.arange(len(nodes), device=nodes.device).repeat(len(shifted))
    return torch.cat(shifted), owner


def _on_line(y: Tensor, images: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    order = images[:, 0].argsort()
    at, owner = images[order, 0], owner[order]
    if len(at) == 1:
        return owner.expand(len(y), 2), y.new_tensor([1.0, 0.0]).expand(len(y), 2)
    right = torch.searchsorted(at.detach(), y[:, 0].detach().contiguous()).clamp(1, len(at) - 1)
    step = (at[right] - at[right - 1]).clamp_min(torch.finfo(y.dtype).tiny)
    t = ((y[:, 0] - at[right - 1]) / step).clamp(0, 1)
    return torch.stack([owner[right - 1], owner[right]], -1), torch.stack([1 - t, t], -1)


def _on_mesh(y: Tensor, images: Tensor, owner: Tensor, periodic: Tensor) -> tuple[Tensor, Tensor]:
    d = y.shape[-1]
    if len(images) <= d:
        raise ValueError(
            f"Hat functions in {d} dimensions need at least {d + 1} nodes, got {len(images)}. Use more tokens."
        )
    y = _into_hull(y, images, periodic)
    shear = np.eye(d) + SHEAR * np.triu(np.ones((d, d)), 1)
    points, nodes = (p.detach().cpu().double().numpy() @ shear for p in (y, images))
    mesh = Delaunay(nodes)
    cell = mesh.find_simplex(points, tol=1e-9)
    corners = torch.as_tensor(mesh.simplices[cell], device=y.device).long()
    at = images[corners]
    rest = torch.linalg.solve((at[:, 1:] - at[:, :1]).mT, y - at[:, 0])
    weights = torch.cat([1 - rest.sum(-1, keepdim=True), rest], -1)
    weights = weights.clamp_min(0)  # rounding leaves −1e-16 on edges
    return owner[corners], weights / weights.sum(-1, keepdim=True)


def _into_hull(y: Tensor, images: Tensor, periodic: Tensor) -> Tensor:
    """Points outside move towards the middle of the axes that are not periodic until they meet a facet."""
    points, nodes, closed = (
        y.detach().cpu().double().numpy(),
        images.detach().cpu().double().numpy(),
        periodic.cpu().numpy(),
    )
    facets = ConvexHull(nodes).equations  # n·x + c ≤ 0 inside
    base = np.where(closed, points, nodes.mean(0))
    along, room = (points - base) @ facets[:, :-1].T, -(base @ facets[:, :-1].T + facets[:, -1])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(along > 0, room / along, 1.0).min(1).clip(0, 1)
    if not (share < 1).any():
        return y
    base = torch.where(periodic, y, images.mean(0))
    return base + torch.as_tensor(share, device=y.device, dtype=y.dtype)[:, None] * (y - base)
