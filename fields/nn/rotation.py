"""Channel mixing that keeps norms: rotations of all channels, and an MLP that moves each token along its sphere."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.nn.blocks import MLP


class Rotation(nn.Module):
    r"""x ← R x with R = (1 + τA/2)(1 − τA/2)⁻¹, A = W − Wᵀ: orthogonal for every W and every τ.

    Mixes channels as far as a law about ½|x|² permits. R is computed once per call, from (1 +
    τA/2)² (1 + τ²AᵀA/4)⁻¹, whose second factor is symmetric positive definite; each token's norm is
    then put back to rounding.

    Args:
        dim: channels.
        spread: standard deviation of A's entries times √dim at the start; 1 mixes all channels
            well.

    Shape: x (b k h) -> (b k h).
    """

    def __init__(self, dim: int, *, spread: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, dim) * spread / math.sqrt(2 * dim))

    def matrix(self, tau: float | Tensor = 1.0) -> Float[Tensor, "h h"]:
        """R."""
        with torch.autocast(device_type=self.weight.device.type, enabled=False):
            half = 0.5 * tau * (self.weight - self.weight.mT)
            one = torch.eye(len(half), dtype=half.dtype, device=half.device)
            factor = torch.linalg.cholesky_ex(one + half.mT @ half).L
            return torch.cholesky_solve((one + half) @ (one + half), factor)

    def forward(
        self, x: Float[Tensor, "b k h"], tau: float | Tensor = 1.0
    ) -> Float[Tensor, "b k h"]:
        """R x, token by token, in the precision of x whatever autocast says."""
        with torch.autocast(device_type=x.device.type, enabled=False):
            rotated = x @ self.matrix(tau).to(x.dtype).mT
            return keep_norm(x, rotated)


class SphereMLP(nn.Module):
    r"""Each token moves along its sphere by a step that an MLP proposes.

        f_t = f − x (x·f)/|x|²,   ω = |f_t|/|x|,   x ← cos(τω) x + τ sinc(τω) f_t,   f = MLP(LN x)

    f_t is orthogonal to x and |τ sinc(τω) f_t| = |x| sin(τω), so |x| is exact. The output layer
    starts at zero: the identity.

    Shape: x (b k h) -> (b k h).
    """

    def __init__(self, dim: int, *, ratio: float = 2.0):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mlp = zero_start(MLP(dim, ratio=ratio))

    def forward(
        self,
        x: Float[Tensor, "b k h"],
        origin: Float[Tensor, "b k h"] | None = None,
        tau: float | Tensor = 1.0,
        shift: Float[Tensor, "b 1 h"] | float = 0.0,
    ) -> Float[Tensor, "b k h"]:
        """One step on the spheres; ``shift`` is added to the features, ``origin`` is for reactions that need it."""
        return self.along(x, self.mlp(self.norm(x) + shift).to(x.dtype), tau)

    def along(
        self, x: Float[Tensor, "b k h"], f: Float[Tensor, "b k h"], tau: float | Tensor
    ) -> Float[Tensor, "b k h"]:
        """The great circle from x in the direction of f; a token of no size stays."""
        eps = torch.finfo(x.dtype).eps
        size2 = x.square().sum(-1, keepdim=True)
        sphere = size2 > eps**4
        size2 = torch.where(sphere, size2, 1.0)
        tangent = torch.addcmul(f, x, (x * f).sum(-1, keepdim=True) / -size2)
        angle = torch.where(
            sphere, tau * ((tangent.square().sum(-1, keepdim=True) + eps**2) / size2).sqrt(), 0.0
        )
        forward = torch.where(sphere, tau * torch.sinc(angle / math.pi), 0.0)
        return keep_norm(x, torch.addcmul(x * angle.cos(), tangent, forward))


class Reaction(nn.Module):
    """x ← x + τ (MLP(LN x) + b ∘ x₀): what each token does on its own, with a source that remembers the start.

    Against over-smoothing: without it graph diffusion ends in a constant. It keeps no law.
    """

    def __init__(self, dim: int, *, ratio: float = 4.0):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mlp = zero_start(MLP(dim, ratio=ratio))
        self.source = nn.Parameter(torch.zeros(dim))

    def forward(
        self,
        x: Float[Tensor, "b k h"],
        origin: Float[Tensor, "b k h"],
        tau: float | Tensor = 1.0,
        shift: Float[Tensor, "b 1 h"] | float = 0.0,
    ) -> Float[Tensor, "b k h"]:
        """One explicit step."""
        return x + tau * (self.mlp(self.norm(x) + shift).to(x.dtype) + self.source * origin)


def zero_start(mlp: MLP) -> MLP:
    """The MLP with its last layer at zero."""
    for parameter in mlp.layers[-1].parameters():
        nn.init.zeros_(parameter)
    return mlp


def keep_norm(old: Float[Tensor, "b k h"], new: Float[Tensor, "b k h"]) -> Float[Tensor, "b k h"]:
    """``new`` with the norm each token has in ``old``, where the two differ by rounding only.

        new + c new,   c = (|old|² − |new|²) / 2|new|²

    As an increment: a factor 1 + c next to one has steps of ε above it and ε/2 below it, which
    loses energy at every call.
    |old| and |new| agree whatever the weights are, so c is zero along every variation of them and passes no gradient.
    """
    with torch.no_grad():
        tiny = torch.finfo(old.dtype).tiny
        missing = ((old - new) * (old + new)).sum(-1, keepdim=True)
        c = 0.5 * missing / (new.square().sum(-1, keepdim=True) + tiny)
    return torch.addcmul(new, new, c)
