"""Attention to the nearest keys only."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from torch import Tensor, nn
from torch.nn import functional as F

from fields.nn.attention.multihead import Attention
from fields.nn.attention.weights import Softmax
from fields.nn.geometry import periodic_coordinates, rotate


class NearestAttention(nn.Module):
    r"""Attention to the s keys nearest to each query, with weights that vanish smoothly at ρ.

        αᵢ ∝ (1 − rᵢ²/ρ²) exp( scoreᵢ ),    rᵢ = ‖x − xᵢ‖ < ρ

    ρ is the distance of the nearest key that is excluded, so that the result is continuous in x and
    does not depend on how ties are broken. With at most s keys it equals the attention itself. Time
    and memory are linear in the number of queries: a query takes log k steps in a tree of the keys
    (on a GPU one distance per key) and stores s times the width.

    Args:
        attention: the attention to restrict, including its geometric term.
        nearest: number s of keys per query.

    Example:
        >>> layer = NearestAttention(Attention(8, heads=2), nearest=2)
        >>> x_q, x_k = torch.rand(1, 3, 1), torch.rand(1, 5, 1)
        >>> z_q, z_k = torch.ones(1, 3, 8), torch.ones(1, 5, 8)
        >>> layer(z_q, z_k, x_q=x_q, x_k=x_k, periodic=torch.tensor([False])).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, attention: Attention, *, nearest: int):
        super().__init__()
        if nearest < 1:
            raise ValueError(
                f"Attention to the nearest keys got nearest {nearest}. "
                "Give at least 1, or None for all keys."
            )
        self.attention = attention
        self.nearest = nearest
        self.softmax = Softmax()

    def forward(
        self,
        z_q: Float[Tensor, "b m h"],
        z_kv: Float[Tensor, "b k c"],
        *,
        x_q: Float[Tensor, "#b m d"],
        x_k: Float[Tensor, "#b k d"],
        periodic: Bool[Tensor, "d"],
        mask: None = None,
    ) -> Float[Tensor, "b m h"]:
        """Queries z_q at x_q attend to tokens z_kv at x_k, all of which are real."""
        asked = self.attention.project(z_q, z_kv, x_q=x_q, x_k=x_k, periodic=periodic)
        q, k, v = (
            rearrange(part, "b heads n e -> b n heads e") for part in (asked.q, asked.k, asked.v)
        )
        out = self.gather(q, k, v, x_q, x_k, periodic)
        out = rearrange(out, "b m heads e -> b heads m e")
        out = out if asked.turn is None else rotate(out, asked.turn, back=True)
        return self.attention.out(rearrange(out, "b heads m e -> b m (heads e)"))

    def gather(
        self,
        q: Float[Tensor, "b m heads e"],
        k: Float[Tensor, "b k heads e"],
        v: Float[Tensor, "b k heads e"],
        x_q: Float[Tensor, "#b m d"],
        x_k: Float[Tensor, "#b k d"],
        periodic: Bool[Tensor, "d"],
    ) -> Float[Tensor, "b m heads e"]:
        """The weighted values of all heads. Keys are copied to their queries, values are not."""
        index, squares, window = nearest_neighbors(x_q, x_k, periodic, self.nearest)
        first = k.shape[1] * torch.arange(len(k), device=k.device)[:, None, None]
        rows = (first + index).expand(len(k), -1, -1)  # of all keys of the batch in one list
        near = rearrange(k, "b k heads e -> (b k) (heads e)").index_select(0, rows.flatten())
        near = rearrange(
            near, "(b m s) (heads e) -> b m s heads e", b=len(k), m=q.shape[1], heads=k.shape[2]
        )
        score = rearrange(
            (near * (q * q.shape[-1] ** -0.5)[:, :, None]).sum(-1), "b m s heads -> b heads m s"
        )
        if self.attention.locality is not None:
            precision = 0.5 * torch.exp(-2 * self.attention.locality.log_length)
            score = score - precision[:, None, None] * squares[:, None]
        weight = rearrange(
            self.softmax(score + window.log()[:, None]), "b heads m s -> (b m heads) s"
        ).to(v.dtype)
        bags = k.shape[2] * rows[:, :, None] + torch.arange(k.shape[2], device=k.device)[:, None]
        values = rearrange(v, "b k heads e -> (b k heads) e")
        out = F.embedding_bag(bags.flatten(0, 2), values, per_sample_weights=weight, mode="sum")
        return rearrange(out, "(b m heads) e -> b m heads e", b=len(k), heads=k.shape[2])


@torch.autocast("cpu", enabled=False)
@torch.autocast("cuda", enabled=False)
def nearest_neighbors(
    y: Float[Tensor, "bq m d"],
    pos: Float[Tensor, "bk k d"],
    periodic: Bool[Tensor, "d"],
    count: int,
) -> tuple[Int[Tensor, "b m s"], Float[Tensor, "b m s"], Float[Tensor, "b m s"]]:
    """Indices of the nearest keys, squared distances r² and the window 1 − r²/ρ².

    If there are at most ``count`` keys, all of them are returned and the window is 1.
    """
    q = periodic_coordinates(y, periodic)
    k = periodic_coordinates(pos.to(y.dtype), periodic)
    everyone = count >= pos.shape[1]
    if everyone:
        index = torch.arange(pos.shape[1], device=y.device).expand(
            max(len(q), len(k)), q.shape[1], -1
        )
    else:
        index = torch.stack(
            [
                nearest_indices(q[i % len(q)], k[i % len(k)], count + 1)
                for i in range(max(len(q), len(k)))
            ]
        )
    squares = torch.zeros((), dtype=q.dtype, device=q.device)
    for axis in range(q.shape[-1]):  # a sum over a short last axis would be slow
        coordinate = torch.stack([k[i % len(k), :, axis][row] for i, row in enumerate(index)])
        squares = squares + (q[:, :, None, axis] - coordinate).square()
    if everyone:
        return index, squares, torch.ones_like(squares)
    edge = squares[..., -1:].clamp_min(torch.finfo(y.dtype).tiny)
    window = (1 - squares[..., :-1] / edge).clamp_min(1e-12)
    return index[..., :-1], squares[..., :-1], window


@torch.no_grad()
def nearest_indices(
    q: Float[Tensor, "m e"], k: Float[Tensor, "k e"], count: int
) -> Int[Tensor, "m s"]:
    """Indices of the ``count`` keys nearest to each query, sorted by distance.

    They come from a k-d tree on a CPU and from all distances on a GPU.
    """
    if q.device.type == "cpu" and not torch.compiler.is_compiling():
        found = KDTree(k.detach().numpy()).query(
            q.detach().numpy(), count, workers=torch.get_num_threads()
        )[1]
        return torch.as_tensor(found).reshape(len(q), count)
    return (
        torch.cdist(q, k, compute_mode="donot_use_mm_for_euclid_dist")
        .topk(count, largest=False)
        .indices
    )
