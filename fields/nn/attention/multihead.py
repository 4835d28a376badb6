"""Multi-head attention for self-attention, cross-attention and graph attention."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.nn.attention.bilinear_forms import BilinearForm
from fields.nn.attention.kernels import attention_kernel as attention_kernel
from fields.nn.attention.masks import causal_mask as causal_mask
from fields.nn.attention.statistics import AttentionStatistics, attention_statistics
from fields.nn.attention.weights import AttentionLayer, softmax
from fields.nn.geometry import DistanceScore, Rotary, rotate


class ProjectedTokens(NamedTuple):
    """Projected queries, keys and values; the scores are q kᵀ/√e + cols_q cols_kᵀ.

    `Attention.project` makes it from tokens; `Attention.gather` makes the result from it.

    Example:
        >>> asked = Attention(8, heads=2).project(torch.ones(1, 3, 8), torch.ones(1, 5, 8))
        >>> asked.q.shape
        torch.Size([1, 2, 3, 4])
    """

    q: Float[Tensor, "b heads m e"]
    k: Float[Tensor, "b heads k e"]
    v: Float[Tensor, "b heads k e"]
    columns: tuple[Float[Tensor, "#b 1 m c"], Float[Tensor, "#b heads k c"]] | None
    # rotation of the queries, whose inverse is applied to the gathered values
    turn: tuple[Float[Tensor, "#b 1 m p"], Float[Tensor, "#b 1 m p"]] | None
    mask: Bool[Tensor, "#b #heads #m k"] | None
    causal: bool

    def scores(self) -> tuple[Float[Tensor, "b heads m k"], Bool[Tensor, "#b #heads #m k"] | None]:
        """The scores, in float32 or wider, and the mask of keys that a query may attend to."""
        with torch.autocast(self.q.device.type, enabled=False):
            wide = torch.promote_types(self.q.dtype, torch.float32)
            score = torch.matmul(self.q.to(wide) * self.q.shape[-1] ** -0.5, self.k.to(wide).mT)
            score = (
                score
                if self.columns is None
                else score + torch.matmul(self.columns[0], self.columns[1].mT)
            )
        if not self.causal:
            return score, self.mask
        lower = causal_mask(*score.shape[-2:], device=score.device)
        return score, lower if self.mask is None else lower & self.mask


class Attention(AttentionLayer):
    r"""Multi-head attention between tokens with positions.

        out = concat_a [ R(x)ᵀ Σᵢ αᵢ R(xᵢ) vᵢ ] W_O,
        α = softmax_i( ⟨R(x) q, R(xᵢ) k⟩_g/√e − ‖x − xᵢ‖²/(2ℓ_a²) )

    q, k, v are linear in the tokens and split over heads a; R is the rotation by position, g a
    bilinear form (by default the identity), ℓ_a a learned length. If g is the identity, the result
    depends only on relative positions: shifting all points by one vector changes nothing.

    Reference: Vaswani et al. 2017, eq. (1); Su et al. 2021 for R.

    Args:
        dim: width of queries and of the result.
        heads: number of heads; divides ``dim``.
        dim_kv: width of the tokens that are attended to, if not ``dim``.
        lengths: range of ℓ over the heads at initialization, in unit coordinates; None omits the
            geometric term.
        max_frequency: largest rotation frequency in turns per domain; 0 omits the rotation.
        rotate_values: also rotate the values; the output is then a sum of local trigonometric
            expansions about the keys.
        metric: g, built for the width per head, ``dim // heads``.

    Example:
        >>> Attention(8, heads=2)(torch.ones(1, 3, 8), torch.ones(1, 5, 8)).shape
        torch.Size([1, 3, 8])
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 4,
        dim_kv: int | None = None,
        lengths: tuple[float, float] | None = None,
        max_frequency: float = 0.0,
        rotate_values: bool = False,
        metric: BilinearForm | None = None,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"Attention needs heads to divide dim, got dim {dim} and heads {heads}. "
                "Take dim a multiple of heads."
            )
        if metric is not None and metric.matrix().shape[-1] != dim // heads:
            raise ValueError(
                f"Attention compares {dim // heads} channels per head, but the metric has "
                f"{metric.matrix().shape[-1]}. Build it with width dim // heads."
            )
        self.heads = heads
        self.rotate_values = rotate_values
        self.metric = metric
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim_kv or dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.locality = DistanceScore(heads=heads, lengths=lengths) if lengths else None
        self.rotary = Rotary(dim // heads, max_frequency=max_frequency) if max_frequency else None

    def forward(
        self,
        z_q: Float[Tensor, "b m h"],
        z_kv: Float[Tensor, "b k c"],
        *,
        x_q: Float[Tensor, "#b m d"] | None = None,
        x_k: Float[Tensor, "#b k d"] | None = None,
        periodic: Bool[Tensor, "d"] | None = None,
        mask: Bool[Tensor, "#b k"] | None = None,
        allowed: Bool[Tensor, "#b #heads m k"] | None = None,
        causal: bool = False,
        return_stats: bool = False,
    ) -> Float[Tensor, "b m h"] | tuple[Float[Tensor, "b m h"], AttentionStatistics]:
        """Queries z_q at x_q attend to tokens z_kv at x_k.

        ``mask`` is True for real tokens, ``allowed`` where a query may attend to a key (see
        `fields.nn.attention.masks`). With ``causal`` query i attends to keys 0 … i. All of them
        apply together. ``return_stats`` also returns the statistics of the weights, one per head
        and query (b heads m), from the same projections. Without it no m × k matrix is stored.
        """
        asked = self.project(
            z_q,
            z_kv,
            x_q=x_q,
            x_k=x_k,
            periodic=periodic,
            mask=mask,
            allowed=allowed,
            causal=causal,
        )
        out = self.gather(asked)
        if not return_stats:
            return out
        score, some = asked.scores()
        return out, attention_statistics(score, mask=some)

    def project(
        self,
        z_q: Float[Tensor, "b m h"],
        z_kv: Float[Tensor, "b k c"],
        *,
        x_q: Float[Tensor, "#b m d"] | None = None,
        x_k: Float[Tensor, "#b k d"] | None = None,
        periodic: Bool[Tensor, "d"] | None = None,
        mask: Bool[Tensor, "#b k"] | None = None,
        allowed: Bool[Tensor, "#b #heads m k"] | None = None,
        causal: bool = False,
    ) -> ProjectedTokens:
        """Project, split into heads, rotate and combine masks: the common part of all calls."""
        q = rearrange(self.query(z_q), "b m (heads e) -> b heads m e", heads=self.heads)
        k, v = rearrange(
            self.key_value(z_kv), "b k (two heads e) -> two b heads k e", two=2, heads=self.heads
        )
        columns = turn = None
        if self.locality is not None:
            with torch.autocast(q.device.type, enabled=False):
                columns = self.locality(x_q, x_k, periodic)
        if self.rotary is not None:
            turn_q = self.rotary(x_q, periodic)
            turn_k = self.rotary(x_k, periodic)
            q = rotate(q, turn_q)
            k = rotate(k, turn_k)
            if self.rotate_values:
                v = rotate(v, turn_k)
                turn = turn_q
        q = q if self.metric is None else self.metric(q)
        both = (
            allowed
            if mask is None
            else mask[:, None, None]
            if allowed is None
            else mask[:, None, None] & allowed
        )
        return ProjectedTokens(q, k, v, columns, turn, both, causal)

    def gather(self, asked: ProjectedTokens) -> Float[Tensor, "b m h"]:
        """The weighted values of all heads, rotated back and mixed by W_O."""
        out = attention_kernel(
            asked.q, asked.k, asked.v, columns=asked.columns, mask=asked.mask, causal=asked.causal
        )
        out = out if asked.turn is None else rotate(out, asked.turn, back=True)
        return self.out(rearrange(out, "b heads m e -> b m (heads e)"))

    def weights(self, *args: Any, **kwargs: Any) -> Float[Tensor, "b heads m k"]:
        """The weights α for the arguments of `project`; a row without keys is zero."""
        score, some = self.project(*args, **kwargs).scores()
        return softmax(score, some)

    def stats(self, *args: Any, **kwargs: Any) -> AttentionStatistics:
        """Statistics of the weights for the arguments of `project`. Shape: (b heads m)."""
        score, some = self.project(*args, **kwargs).scores()
        return attention_statistics(score, mask=some)
