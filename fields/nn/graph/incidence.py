"""Attention as a coboundary: soft edges, whose two ends are distributions over the tokens."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fields.nn.attention.weights import Softmax
from fields.nn.geometry import Rotary, distance_scores, periodic_coordinates, rotate

HEAD = 0.7  # initial length scale of the narrow end of an edge, in token spacings

TAILS = (0.05, 1.0)  # of the wide end, for the first and the last head, in unit coordinates

MAX_FREQUENCY = 8.0  # largest rotation frequency, in turns per domain

AXES = 3  # most spatial axes that learned edge positions can follow


def split_heads(x: Float[Tensor, "b k c"], heads: int) -> Float[Tensor, "b heads k e"]:
    """Split the channels into heads, e = c / heads."""
    return rearrange(x, "b k (heads e) -> b heads k e", heads=heads)


def merge_heads(x: Float[Tensor, "b heads k e"]) -> Float[Tensor, "b k c"]:
    """Join the channels of all heads, the inverse of :func:`split_heads`."""
    return rearrange(x, "b heads k e -> b k (heads e)")


class Coboundary(NamedTuple):
    """D maps a field on the nodes to differences on the edges; each head acts on its channels.

    Fields stay split into heads during a step, because a matrix product would copy another layout.

    Shape: matrix (b heads m n), node fields (b heads n e), edge fields (b heads m e).

    Example:
        >>> Coboundary(torch.ones(1, 2, 3, 5)).up(torch.ones(1, 2, 5, 4)).shape
        torch.Size([1, 2, 3, 4])
    """

    matrix: Float[Tensor, "b heads m n"]

    def up(self, q: Float[Tensor, "b heads n e"]) -> Float[Tensor, "b heads m e"]:
        """D q, from nodes to edges."""
        return self.matrix @ q

    def down(self, p: Float[Tensor, "b heads m e"]) -> Float[Tensor, "b heads n e"]:
        """Dᵀ p, from edges to nodes."""
        return self.matrix.mT @ p

    def to(self, dtype: torch.dtype) -> Coboundary:
        """The same operator in another precision."""
        return self._replace(matrix=self.matrix.to(dtype))


def coboundary(
    ends: Float[Tensor, "b heads m+m n"], weight: Float[Tensor, "b heads m"]
) -> Coboundary:
    r"""D = diag(w)^½ (P − R) diag(a₀)^−½,   a₀ = Σₑ wₑ (Pₑ + Rₑ).

    The rows of P and R sum to one, so that (P − R) 1 = 0. By |a − b|² ≤ 2a² + 2b² and Jensen's
    inequality, ‖D‖² ≤ 2 for any weights. With one-hot rows DᵀD is the normalized graph Laplacian.

    Args:
        ends: P and R, the rows of P above those of R.
        weight: w > 0 of every edge.
    """
    return Coboundary(NormalizedDifferences.apply(ends, weight.to(ends.dtype)))


class NormalizedDifferences(torch.autograd.Function):
    r"""D of `coboundary` with its backward pass. With G = ∂D,

        ∂a₀ = −½ Σₑ G ∘ D / a₀,   S = w^½ G a₀^−½,
        ∂P = S + w ∂a₀ᵀ,   ∂R = −S + w ∂a₀ᵀ,   ∂w = ½ Σᵢ G ∘ D / w + (P + R) ∂a₀

    Autograd would access matrices of the size of D twice as often. Differentiable once.

    Example:
        >>> NormalizedDifferences.apply(torch.ones(1, 2, 6, 5), torch.ones(1, 2, 3)).shape
        torch.Size([1, 2, 3, 5])
    """

    @staticmethod
    def forward(
        ctx: Any, ends: Float[Tensor, "b heads m+m n"], weight: Float[Tensor, "b heads m"]
    ) -> Float[Tensor, "b heads m n"]:
        """The matrix D.   Shape: (b heads m+m n), (b heads m) -> (b heads m n)."""
        head, tail = ends.chunk(2, dim=2)
        row = weight[..., None, :]
        mass = row @ head + row @ tail + torch.finfo(ends.dtype).eps
        d = (head - tail).mul_(weight.sqrt()[..., None]).mul_(mass.rsqrt())
        ctx.save_for_backward(ends, weight, mass, d)
        return d

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "b heads m n"]) -> tuple[Tensor, Tensor]:
        """Gradients of ``ends`` and ``weight``."""
        ends, weight, mass, d = ctx.saved_tensors
        product = grad * d
        d_mass = -0.5 * product.sum(2, keepdim=True) / mass
        by_end = (ends @ d_mass.mT).unflatten(2, (2, -1)).sum((2, 4))
        d_weight = 0.5 * product.sum(3) / weight + by_end
        scaled = (grad * mass.rsqrt()).mul_(weight.sqrt()[..., None])
        sign = 1 - 2 * torch.arange(2, dtype=grad.dtype, device=grad.device)[:, None, None]
        both = torch.addcmul((weight[..., None] * d_mass)[:, :, None], scaled[:, :, None], sign)
        return both.flatten(2, 3), d_weight


class SoftIncidence(nn.Module):
    r"""Soft edges, whose two ends are attention distributions over the tokens.

        Pₑ = softmaxᵢ(u⁺ₑ·kᵢ/√d − ‖xₑ − xᵢ‖²/2ℓ₊²),   Rₑ = softmaxᵢ(u⁻ₑ·kᵢ/√d − ‖xₑ − xᵢ‖²/2ℓ₋²)

    With ``edges=None`` there is one edge per token: uₑ is a function of the token and xₑ its
    position. Otherwise there are ``edges`` latent edges with learned uₑ and xₑ, at a cost that is
    proportional to their number.

    Args:
        dim: token width h.
        heads: number of operators, each of which acts on its own channels.
        edges: number m of latent edges, None for one per token.

    Shape: features (b n h), squared distances (b n n) or None -> matrix (b heads m n).

    Example:
        >>> SoftIncidence(8, edges=3)(torch.ones(1, 5, 8)).matrix.shape
        torch.Size([1, 2, 3, 5])
    """

    def __init__(self, dim: int, *, heads: int = 2, edges: int | None = None):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"SoftIncidence has {dim} channels, which {heads} heads cannot share. "
                f"Use a divisor of {dim}."
            )
        self.heads = heads
        self.edges = edges
        self.norm = nn.LayerNorm(dim)
        self.key = nn.Linear(dim, dim, bias=False)
        tails = torch.linspace(math.log(TAILS[0]), math.log(TAILS[1]), heads)
        self.log_length = nn.Parameter(torch.stack([torch.full((heads,), math.log(HEAD)), tails]))
        self.rotary = Rotary(dim // heads, max_frequency=MAX_FREQUENCY)
        self.softmax = Softmax()  # P and R themselves are needed, not their products with values
        if edges is None:
            self.query = nn.Linear(dim, 2 * dim)
            self.weight = nn.Linear(dim, heads)
        else:
            self.query = nn.Parameter(torch.randn(2, heads, edges, dim // heads))
            self.weight = nn.Parameter(torch.zeros(heads, edges))
            positions = torch.quasirandom.SobolEngine(AXES, scramble=True, seed=0).draw(edges)
            self.position = nn.Parameter(positions - 0.5)

    def forward(
        self,
        features: Float[Tensor, "b n h"],
        pos: Float[Tensor, "#b n d"] | None = None,
        periodic: Tensor | None = None,
        distance2: Float[Tensor, "#b n n"] | None = None,
    ) -> Coboundary:
        """The coboundary of these tokens at positions ``pos``."""
        key = split_heads(self.key(features), self.heads)
        query, weight = self._ends(features)
        query = query.to(key.dtype)
        if pos is not None and periodic is not None:
            nodes, edges = self.turns(pos, periodic)
            key = rotate(key, nodes)
            query = rotate(query, edges)
            distance2 = distance2 if self.edges is None else self._distance2(pos, periodic)
        # both ends in one product with the keys
        ends = rearrange(key.shape[-1] ** -0.5 * query, "two b heads m e -> b heads (two m) e")
        score = ends @ key.mT
        if pos is not None and distance2 is not None:
            # the length of the narrow end is in token spacings
            spacing = math.log(pos.shape[1]) / pos.shape[2]
            near = (
                distance_scores(distance2, length)
                for length in (self.log_length[0] - spacing, self.log_length[1])
            )
            # in place, since the backward pass does not need the product itself
            score = score.add_(torch.cat(tuple(near), dim=2))
        return coboundary(self.softmax(score), F.softplus(weight))

    def _ends(
        self, features: Float[Tensor, "b n h"]
    ) -> tuple[Float[Tensor, "two #b heads m e"], Float[Tensor, "b heads m"]]:
        """u⁺ and u⁻ of each edge, and its weight before the softplus."""
        if isinstance(self.query, nn.Linear) and isinstance(self.weight, nn.Linear):
            query = rearrange(
                self.query(features),
                "b m (two heads e) -> two b heads m e",
                two=2,
                heads=self.heads,
            )
            weight = rearrange(self.weight(features), "b m heads -> b heads m")
            # contiguous, since torch.compile mistakes the layout of the gradient of a softplus
            # on a permuted input
            return query, weight.contiguous()
        assert isinstance(self.query, Tensor) and isinstance(self.weight, Tensor)  # latent edges
        return self.query[:, None], self.weight.expand(features.shape[0], -1, -1)

    def turns(
        self, pos: Float[Tensor, "b n d"], periodic: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Rotations (`Rotary`) at the positions of the nodes and of the edges."""
        nodes = self.rotary(pos, periodic)
        return nodes, nodes if self.edges is None else self.rotary(self._position(pos), periodic)

    def _position(self, pos: Float[Tensor, "b n d"]) -> Float[Tensor, "1 m d"]:
        axes = pos.shape[-1]
        if axes > AXES:
            raise ValueError(
                f"Latent edges have positions in at most {AXES} axes, but the tokens have {axes}. "
                "Use `edges=None`."
            )
        return self.position[None, :, :axes].to(pos.dtype)

    def _distance2(self, pos: Float[Tensor, "b n d"], periodic: Tensor) -> Float[Tensor, "b m n"]:
        edges = periodic_coordinates(self._position(pos), periodic)
        tokens = periodic_coordinates(pos, periodic)
        sizes = edges.square().sum(-1)[:, :, None] + tokens.square().sum(-1)[:, None]
        return sizes - 2 * edges @ tokens.mT  # avoids a tensor of m × n × d differences
