"""The energy of a field: a learned density of the neighborhood of each place."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fields.dynamics.base import Context, Energy
from fields.nn.stencils import around, taps


class LocalEnergy(Energy):
    r"""Tokens are samples of fields on a periodic grid, with a learned density of energy.

        V = Σₙ Σ_μ ½ κ_μ a_μ(n)² + ¼ λ_μ² a_μ(n)⁴ + w_μ [log cosh(a_μ(n) + b_μ) − log cosh b_μ]
        a_μ(n) = Σ_o Ξ_μ(o) · q(n + o),   κ > 0
        ∂V/∂q(n) = Σ_o Ξ(o)ᵀ f(n − o),   f_μ = κ_μ a_μ + λ_μ² a_μ³ + w_μ tanh(a_μ + b_μ)

    The stencils Ξ are the same everywhere, so V is a translation-invariant functional of the field,
    and V = 0 for q = 0. V is bounded below for all weights, because squares outgrow log cosh. Where
    channels are given (the medium of a wave), κ and w are functions of their values in the
    neighborhood. With ``differences`` the coefficients of every stencil sum to zero: V does not
    change when a constant is added to q, Σₙ ∂V/∂q(n) = 0, and a mean momentum of zero stays zero.

    Args:
        dim: channels c of q.
        tokens: anchors per axis, as the encoder's.
        given: the last ``given`` channels are read and do not move.
        patterns: number of stencils.
        radius: neighbors that a stencil sees on either side, along each axis.
        hidden: width of the network from the given channels to κ and w.
        differences: V depends on differences of q only.
        quartic: initial λ of every stencil; 0 omits the fourth powers. With them forces grow as
            cubes where waves are larger than in training; without them forces become linear there.
        conditioned: whether constants of the PDE change κ and w.

    Raises:
        ValueError: no channel would move, stencils reach around the domain, another number of
            tokens, or constants of the PDE that the energy does not use.

    Shape: q (b k c) -> V (b), ∇V (b k c), zero in given channels; the tokens are a periodic grid.

    Example:
        >>> value, grad = LocalEnergy(1, tokens=(12,)).value_and_grad(torch.randn(2, 12, 1))
        >>> value.shape, grad.shape
        (torch.Size([2]), torch.Size([2, 12, 1]))
    """

    permutation_invariant = False
    uses_positions = False
    bounded_below = True

    def __init__(
        self,
        dim: int,
        *,
        tokens: tuple[int, ...],
        given: int = 0,
        patterns: int = 64,
        radius: int = 3,
        hidden: int = 64,
        differences: bool = False,
        quartic: float = 0.0,
        conditioned: bool = False,
    ):
        super().__init__()
        if not 0 <= given < dim:
            raise ValueError(
                f"LocalEnergy has {dim} channels, of which {given} are given: none would move. "
                "Give fewer."
            )
        self.tokens = tuple(tokens)
        self.radius = radius
        self.moving = dim - given
        self.differences = differences
        seen, given = (channels * taps(tokens, radius) for channels in (self.moving, given))
        self.stencils = nn.Parameter(torch.randn(patterns, seen) / math.sqrt(seen))
        self.bias = nn.Parameter(torch.randn(patterns))
        self.raw_stiffness = nn.Parameter(
            torch.full((patterns,), math.log(math.expm1(1 / patterns)))
        )
        self.weight = nn.Parameter(torch.zeros(patterns))
        self.quartic = nn.Parameter(torch.full((patterns,), quartic)) if quartic else None
        self.steer = nn.Linear(dim, 2 * patterns, bias=False) if conditioned else None
        self.medium = (
            nn.Sequential(nn.Linear(given, hidden), nn.Tanh(), nn.Linear(hidden, 2 * patterns))
            if given
            else None
        )

    def value_and_grad(
        self, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k c"]]:
        """V and ∂V/∂q.   Shape: (b k c) -> (b), (b k c)."""
        stencils = self.kernels()
        a = self.responses(z, stencils)
        stiffness, weight = self.material(z, context)
        value, slope = LogCosh.apply(a + self.bias)
        pull = stiffness * a
        density = torch.addcmul(weight * (value - LogCosh.apply(self.bias)[0]), pull, a, value=0.5)
        if self.quartic is not None:
            cube = self.quartic.square() * a.pow(3)
            density = torch.addcmul(density, cube, a, value=0.25)
            pull = pull + cube
        grad = self._gathered(torch.addcmul(pull, weight, slope) @ stencils)
        if self.differences:  # zero up to a rounding error that every step would repeat
            grad = grad - grad.mean(1, keepdim=True)
        return density.sum((1, 2)), F.pad(grad, (0, z.shape[-1] - self.moving))

    def curvature(
        self, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b k ee"], Float[Tensor, "b k ee"]]:
        """Positive semidefinite W⁺ and W⁻ with ∂²V/∂q² = Σₙ Pₙᵀ (W⁺(n) − W⁻(n)) Pₙ, row by row.

        W⁺ is Σ_μ Ξ_μᵀ Ξ_μ times κ_μ + 3 λ_μ² a_μ² + max(w_μ, 0) sech²(a_μ + b_μ), and W⁻ the same
        sum times max(−w_μ, 0) sech²(a_μ + b_μ), in the channels that move.
        """
        stencils = self.kernels()
        a = self.responses(z, stencils)
        stiffness, weight = self.material(z, context)
        bent = weight * (1 - (a + self.bias).tanh().square())
        stiff = stiffness if self.quartic is None else stiffness + 3 * (self.quartic * a).square()
        squares = rearrange(stencils[:, :, None] * stencils[:, None], "m i j -> m (i j)")
        return (stiff + bent.relu()) @ squares, (-bent).relu() @ squares

    def bend(
        self, z: Float[Tensor, "b k c"], move: Float[Tensor, "b k c"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        r"""C with V(z + sΔ) ≤ V(z) + s ∇V·Δ + s² C for every 0 ≤ s ≤ 1, Δ the move.

            C = Σₙ Σ_μ ½ (κ + 3λ²a² + max(w, 0)) d² + λ² (|a d³| + ¼ d⁴),    d = Ξ·Δ

        The second derivative of log cosh is at most 1, and for s ≤ 1 the terms s³ and s⁴ of
        (a + sd)⁴ are at most s² times their size at s = 1.
        """
        stencils = self.kernels()
        a = self.responses(z, stencils)
        d = self.responses(move, stencils)
        stiffness, weight = self.material(z, context)
        out = 0.5 * (stiffness + weight.relu()) * d.square()
        if self.quartic is not None:
            out = out + (self.quartic * d).square() * (
                1.5 * a.square() + (a * d).abs() + 0.25 * d.square()
            )
        return out.sum((1, 2))

    def responses(
        self, z: Float[Tensor, "b k c"], stencils: Float[Tensor, "m e"]
    ) -> Float[Tensor, "b k m"]:
        """a of each place, for stencils as returned by `kernels`."""
        if z.shape[1] != math.prod(self.tokens):
            raise ValueError(
                f"LocalEnergy is made for {self.tokens} tokens, got {z.shape[1]}. "
                "Give the same `tokens` to the encoder and the energy."
            )
        return around(z[..., : self.moving], self.tokens, self.radius) @ stencils.T

    def kernels(self) -> Float[Tensor, "m e"]:
        """Ξ, with coefficients that sum to zero if ``differences``."""
        if not self.differences:
            return self.stencils
        each = rearrange(self.stencils, "m (c o) -> m c o", c=self.moving)
        return rearrange(each - each.mean(-1, keepdim=True), "m c o -> m (c o)")

    def material(
        self, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "*b k m"], Float[Tensor, "*b k m"]]:
        """κ > 0 and w at every place; without a place axis where they are constant."""
        raw = self.raw_stiffness
        weight = self.weight
        if context.cond is not None and self.steer is None:
            raise ValueError(
                "LocalEnergy does not use the constants of the PDE that the data have. "
                "Set `conditioned: true`."
            )
        if context.cond is not None and self.steer is not None:
            stiffer, heavier = self.steer(
                context.cond[:, None, : self.steer.in_features].to(z.dtype)
            ).chunk(2, dim=-1)
            raw = raw + stiffer
            weight = weight + heavier
        if self.medium is not None:
            stiffer, heavier = self.medium(
                around(z[..., self.moving :], self.tokens, self.radius)
            ).chunk(2, dim=-1)
            raw = raw + stiffer
            weight = weight + heavier
        return F.softplus(raw), weight

    def _gathered(self, around: Float[Tensor, "b k e"]) -> Float[Tensor, "b k c"]:
        """The adjoint of `around`: sums the entries of all neighborhoods that contain a token."""
        taps = (2 * self.radius + 1,) * len(self.tokens)
        field = around.unflatten(1, self.tokens).unflatten(-1, (self.moving, *taps))
        for axis in range(len(self.tokens), 0, -1):
            field = torch.stack(
                [one.roll(o - self.radius, dims=axis) for o, one in enumerate(field.unbind(-1))]
            ).sum(0)
        return field.flatten(1, len(self.tokens))


class LogCosh(torch.autograd.Function):
    """log cosh a and tanh a without overflow; only tanh is stored. Once differentiable.

    Example:
        >>> value, slope = LogCosh.apply(torch.tensor([0.0, 1000.0]))
        >>> value.round(), slope
        (tensor([  0., 999.]), tensor([0., 1.]))
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> tuple[Tensor, Tensor]:
        """log cosh a and tanh a, of any shape."""
        t = a.tanh()
        size = a.abs()
        ctx.save_for_backward(t)
        return size + (-2 * size).exp().log1p() - math.log(2), t

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_value: Tensor, d_t: Tensor) -> Tensor:
        """The gradient with respect to a."""
        (t,) = ctx.saved_tensors
        return torch.addcmul(d_t, t, torch.addcmul(d_value, t, d_t, value=-1))
