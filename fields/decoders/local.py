"""A query point asks the tokens around it."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fields.decoders.base import Decoder
from fields.nn.blocks import MLP
from fields.nn.embeddings import Position
from fields.nn.geometry import Rotary, embed, rotate
from fields.nn.weights import Softmax
from fields.sample import Latent, Schema


class LocalCrossAttention(Decoder):
    r"""Cross-attention to the s tokens nearest to each query, with weights that end smoothly at the edge of the neighbourhood.

        f(y) = W( Σᵢ αᵢ(y) R(xᵢ − y) vᵢ ),    αᵢ ∝ (1 − rᵢ²/ρ²) exp( score − rᵢ²/(2ℓ²) ),    rᵢ = ‖y − xᵢ‖ < ρ

    ρ is the distance of the nearest token that is left out, so f is continuous in y and does not depend on how ties are
    broken. Keys and values are projected once per token. Cost: linear in the number of queries. Memory without
    gradients: queries are answered ``chunk`` at a time, each with about 4 bytes × (2 s + 10) × dim per sample and 4 bytes × 4 d
    per token; with gradients nothing is cut.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        near: features of the local path per input channel, 0 without one.
        nearest: tokens s per query.
        heads: attention heads.
        lengths: Gaussian lengths ℓ of the first and last head, in unit coordinates.
        max_frequency: largest rotation frequency, in turns per domain.
        chunk: queries at a time without gradients.
    """

    def __init__(
        self,
        dim: int,
        schema: Schema,
        *,
        near: int = 0,
        nearest: int = 9,
        heads: int = 4,
        ratio: float = 2.0,
        lengths: tuple[float, float] = (0.04, 0.25),
        max_frequency: float = 8.0,
        chunk: int = 8192,
    ):
        super().__init__()
        self.nearest, self.heads, self.chunk = nearest, heads, chunk
        self.position = Position(dim, schema)
        self.near = nn.Linear(near * schema.in_channels, dim) if near else None
        self.norm_query, self.norm_token = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key_value, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.rotary = Rotary(dim // heads, max_frequency=max_frequency)
        self.log_length = nn.Parameter(torch.linspace(*(torch.tensor(lengths).log().tolist()), heads))
        self.softmax = Softmax()  # each query has keys of its own: no path of `attend` gathers them
        self.mlp = nn.Sequential(nn.LayerNorm(dim), MLP(dim, ratio=ratio))
        self.head = nn.Sequential(nn.LayerNorm(dim), MLP(dim, out=schema.out_channels, ratio=1.0))

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        near: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """Field at points y."""
        keys_values = rearrange(self.key_value(self.norm_token(latent.z)), "b k (two a e) -> two b a k e", two=2, a=self.heads)
        turn = self.rotary(latent.pos, latent.periodic)
        k, v = (rearrange(rotate(part, turn), "b a k e -> b k a e") for part in keys_values)
        size = y.shape[1] if torch.is_grad_enabled() else self.chunk
        starts = range(0, y.shape[1], size)
        return torch.cat(
            [
                self._answer(k, v, latent, y[:, i : i + size], None if near is None else near[:, i : i + size])
                for i in starts
            ],
            dim=1,
        )

    def _answer(self, k: Tensor, v: Tensor, latent: Latent, y: Tensor, near: Tensor | None) -> Tensor:
        z = self.position(y)
        z = z.expand(len(k), -1, -1) if self.near is None or near is None else z + self.near(near)
        index, squares, window = neighbours(y, latent.pos, latent.periodic, self.nearest)
        turn = self.rotary(y, latent.periodic)
        q = rotate(rearrange(self.query(self.norm_query(z)), "b m (a e) -> b a m e", a=self.heads), turn)
        batch = torch.arange(len(k), device=k.device)[:, None, None]
        score = einsum(q, k[batch, index], "b a m e, b m s a e -> b a m s") * q.shape[-1] ** -0.5
        precision = 0.5 * torch.exp(-2 * self.log_length)[:, None, None]
        score = score - precision * squares[:, None] + window.log()[:, None]
        weight = self.softmax(score).to(v.dtype)
        got = rotate(einsum(weight, v[batch, index], "b a m s, b m s a e -> b a m e"), turn, back=True)
        z = z + self.out(rearrange(got, "b a m e -> b m (a e)"))
        return self.head(z + self.mlp(z))


@torch.autocast("cpu", enabled=False)
@torch.autocast("cuda", enabled=False)
def neighbours(
    y: Float[Tensor, "bq m d"], pos: Float[Tensor, "bk k d"], periodic: Bool[Tensor, "d"], count: int
) -> tuple[Int[Tensor, "b m s"], Float[Tensor, "b m s"], Float[Tensor, "b m s"]]:
    """The nearest tokens, their squared distances r² and the window 1 − r²/ρ²; all tokens and no window if there are too few."""
    q, k = embed(y, periodic), embed(pos.to(y.dtype), periodic)
    squares = (q[:, :, None] - k[:, None]).square().sum(-1)
    if count >= pos.shape[1]:
        index = torch.arange(pos.shape[1], device=y.device).expand(squares.shape)
        return index, squares, torch.ones_like(squares)
    squares, index = squares.topk(count + 1, dim=-1, largest=False)
    edge = squares[..., -1:].clamp_min(torch.finfo(y.dtype).tiny)
    window = (1 - squares[..., :-1] / edge).clamp_min(1e-12)
    return index[..., :-1], squares[..., :-1], window
