"""Maps of channels that preserve norms: rotations, and an MLP that moves tokens along spheres."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.nn.blocks import MLP


class Rotation(nn.Module):
    r"""x ← R x with R = (1 + τA/2)(1 − τA/2)⁻¹, A = W − Wᵀ: orthogonal for every W and every τ.

    The most general linear map of channels that preserves ½|x|², up to reflections. R is computed
    once per call, as (1 + τA/2)² (1 + τ²AᵀA/4)⁻¹, whose second factor is symmetric positive
    definite; the norm of each token is then restored to rounding.

    Args:
        dim: channels h.
        spread: initial standard deviation of the entries of A times √dim; 1 mixes all channels.

    Shape: x (b k h) -> (b k h).

    Example:
        >>> x = torch.randn(2, 5, 8)
        >>> torch.allclose(Rotation(8)(x).norm(dim=-1), x.norm(dim=-1))
        True
    """

    def __init__(self, dim: int, *, spread: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, dim) * spread / math.sqrt(2 * dim))

    def matrix(self, tau: float | Tensor = 1.0) -> Float[Tensor, "h h"]:
        """R for the fraction τ of a full pass."""
        with torch.autocast(device_type=self.weight.device.type, enabled=False):
            half = 0.5 * tau * (self.weight - self.weight.mT)
            one = torch.eye(len(half), dtype=half.dtype, device=half.device)
            factor = torch.linalg.cholesky_ex(one + half.mT @ half).L
            return torch.cholesky_solve((one + half) @ (one + half), factor)

    def forward(
        self, x: Float[Tensor, "b k h"], tau: float | Tensor = 1.0
    ) -> Float[Tensor, "b k h"]:
        """R x of each token, in the dtype of x, with or without autocast."""
        with torch.autocast(device_type=x.device.type, enabled=False):
            rotated = x @ self.matrix(tau).to(x.dtype).mT
            return keep_norm(x, rotated)


class SphereMLP(nn.Module):
    r"""Each token moves along its sphere, in the direction that an MLP proposes.

        f_t = f − x (x·f)/|x|²,   ω = |f_t|/|x|,   x ← cos(τω) x + τ sinc(τω) f_t,   f = MLP(LN x)

    f_t is orthogonal to x and |τ sinc(τω) f_t| = |x| sin(τω), so |x| is preserved. The output layer
    is initialized to zero, so that the map starts as the identity.

    Args:
        dim: channels h.
        ratio: hidden width of the MLP over h.

    Shape: x (b k h) -> (b k h).

    Example:
        >>> x = torch.randn(2, 5, 8)
        >>> torch.allclose(SphereMLP(8)(x), x, atol=1e-5)
        True
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
        """x moved along the spheres; ``shift`` is added to the features, ``origin`` is not used."""
        return self.along(x, self.mlp(self.norm(x) + shift).to(x.dtype), tau)

    def along(
        self, x: Float[Tensor, "b k h"], f: Float[Tensor, "b k h"], tau: float | Tensor
    ) -> Float[Tensor, "b k h"]:
        """x moved along the great circle in the direction of f; a zero token does not move."""
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
    """x ← x + τ (MLP(LN x) + b ∘ x₀): a map of each token by itself, with a source.

    The source b ∘ x₀ counters over-smoothing: without it graph diffusion tends to a constant.
    Preserves no invariant. The output layer and b are initialized to zero.

    Args:
        dim: channels h.
        ratio: hidden width of the MLP over h.

    Shape: x (b k h) -> (b k h).
    Reference: Chamberlain et al., ICML 2021, for the source.

    Example:
        >>> x = torch.randn(2, 5, 8)
        >>> Reaction(8)(x, x).shape
        torch.Size([2, 5, 8])
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
        """x after one explicit step of size τ, with x₀ = ``origin``; ``shift`` adds to LN x."""
        return x + tau * (self.mlp(self.norm(x) + shift).to(x.dtype) + self.source * origin)


def zero_start(mlp: MLP) -> MLP:
    """The same MLP with its last layer set to zero."""
    for parameter in mlp.layers[-1].parameters():
        nn.init.zeros_(parameter)
    return mlp


def keep_norm(old: Float[Tensor, "b k h"], new: Float[Tensor, "b k h"]) -> Float[Tensor, "b k h"]:
    """``new`` with the norm of each token in ``old``, where the two differ by rounding only.

        new + c new,   c = (|old|² − |new|²) / 2|new|²

    Written as an increment, because a factor 1 + c near one is rounded with a bias that loses
    energy at every call. In exact arithmetic c is zero for all weights, so it passes no gradient.
    """
    with torch.no_grad():
        tiny = torch.finfo(old.dtype).tiny
        missing = ((old - new) * (old + new)).sum(-1, keepdim=True)
        c = 0.5 * missing / (new.square().sum(-1, keepdim=True) + tiny)
    return torch.addcmul(new, new, c)
