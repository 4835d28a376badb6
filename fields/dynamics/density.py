"""The energy of a field: a learned density of what lies around each place."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fields.dynamics.base import Context, Energy
from fields.nn.stencils import around, taps


class DensityEnergy(Energy):
    r"""Tokens are samples of fields on a periodic grid; each place n has an energy by what its neighbours hold.

        V = Σₙ Σ_μ ½ κ_μ a_μ(n)² + w_μ [log cosh(a_μ(n) + b_μ) − log cosh b_μ],    a_μ(n) = Σ_o Ξ_μ(o) · q(n + o),    κ > 0
        ∂V/∂q(n) = Σ_o Ξ(o)ᵀ f(n − o),    f_μ = κ_μ a_μ + w_μ tanh(a_μ + b_μ)

    The stencils Ξ are the same everywhere, so V is a functional of the field, whatever its place, and V = 0 at rest. V is
    bounded below whatever the weights, because squares outgrow log cosh. Where channels are given (the medium of a wave), κ and
    w are functions of what the stencils' neighbourhood holds of them. With ``differences`` the taps of every stencil add up to
    zero: a constant added to q costs nothing, Σₙ ∂V/∂q(n) = 0, and a mean momentum that is zero stays so.

    Args:
        dim: channels c of q.
        tokens: anchors per axis, as the encoder's.
        given: the last so many channels are read and not moved.
        patterns: number of stencils.
        reach: neighbours that a stencil sees on either side, along each axis.
        hidden: width of the map from what is given to κ and w.
        differences: V sees differences of q alone.

    Raises:
        ValueError: nothing would move, or stencils that reach around the box.

    Shape: q (b k c) -> V (b), ∇V (b k c), zero in channels that are given.
    """

    def __init__(
        self,
        dim: int,
        *,
        tokens: tuple[int, ...],
        given: int = 0,
        patterns: int = 64,
        reach: int = 3,
        hidden: int = 64,
        differences: bool = False,
    ):
        super().__init__()
        if not 0 <= given < dim:
            raise ValueError(f"DensityEnergy has {dim} channels, of which {given} are given: none would move. Give fewer.")
        self.tokens, self.reach, self.moving, self.differences = tuple(tokens), reach, dim - given, differences
        seen, given = (channels * taps(tokens, reach) for channels in (self.moving, given))
        self.stencils = nn.Parameter(torch.randn(patterns, seen) / math.sqrt(seen))
        self.bias = nn.Parameter(torch.randn(patterns))
        self.raw_stiffness = nn.Parameter(torch.full((patterns,), math.log(math.expm1(1 / patterns))))
        self.weight = nn.Parameter(torch.zeros(patterns))
        self.medium = nn.Sequential(nn.Linear(given, hidden), nn.Tanh(), nn.Linear(hidden, 2 * patterns)) if given else None

    def value_and_grad(
        self, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k c"]]:
        """V and ∂V/∂q."""
        if z.shape[1] != math.prod(self.tokens):
            raise ValueError(f"DensityEnergy is made for {self.tokens} tokens, got {z.shape[1]}. Give encoder and energy the same.")
        stiffness, weight = self.material(z)
        stencils = self.kernels()
        a = around(z[..., : self.moving], self.tokens, self.reach) @ stencils.T
        value, slope = LogCosh.apply(a + self.bias)
        pull = stiffness * a
        density = torch.addcmul(weight * (value - LogCosh.apply(self.bias)[0]), pull, a, value=0.5)
        grad = self._gathered(torch.addcmul(pull, weight, slope) @ stencils)
        return density.sum((1, 2)), F.pad(grad, (0, z.shape[-1] - self.moving))

    def kernels(self) -> Float[Tensor, "m e"]:
        """Ξ."""
        if not self.differences:
            return self.stencils
        each = rearrange(self.stencils, "m (c o) -> m c o", c=self.moving)
        return rearrange(each - each.mean(-1, keepdim=True), "m c o -> m (c o)")

    def material(self, z: Float[Tensor, "b k c"]) -> tuple[Float[Tensor, "*b k m"], Float[Tensor, "*b k m"]]:
        """κ and w at every place."""
        raw, weight = self.raw_stiffness, self.weight
        if self.medium is not None:
            more = self.medium(around(z[..., self.moving :], self.tokens, self.reach))
            raw, weight = raw + more[..., : len(raw)], weight + more[..., len(raw) :]
        return F.softplus(raw), weight

    def _gathered(self, around: Float[Tensor, "b k e"]) -> Float[Tensor, "b k c"]:
        """Adjoint of `around`: every token gets what its neighbours hold for it."""
        taps = (2 * self.reach + 1,) * len(self.tokens)
        field = around.unflatten(1, self.tokens).unflatten(-1, (self.moving, *taps))
        for axis in range(len(self.tokens), 0, -1):
            field = torch.stack([one.roll(o - self.reach, dims=axis) for o, one in enumerate(field.unbind(-1))]).sum(0)
        return field.flatten(1, len(self.tokens))


class LogCosh(torch.autograd.Function):
    """log cosh a and tanh a without overflow; only the second is kept. Once differentiable."""

    @staticmethod
    def forward(ctx, a: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        t, size = a.tanh(), a.abs()
        ctx.save_for_backward(t)
        return size + (-2 * size).exp().log1p() - math.log(2), t

    @staticmethod
    @once_differentiable
    def backward(ctx, d_value: Tensor, d_t: Tensor) -> Tensor:
        """Gradient of a."""
        (t,) = ctx.saved_tensors
        return torch.addcmul(d_t, t, torch.addcmul(d_value, t, d_t, value=-1))
