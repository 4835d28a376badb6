"""Tokens as particles: positions and momenta under a learned energy."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Energy, Law, LawfulField, SeparableHamiltonian
from fields.dynamics.energies import AttentionEnergy


class CanonicalHamiltonian(SeparableHamiltonian):
    r"""Half of the channels are positions q, half momenta p, and a learned energy moves them.

        dq/dt = m⁻¹ p,   dp/dt = −∇V(q),   E = ½ Σ m⁻¹ p² + V(q),   dE/dt = 0

    Args:
        dim: token width h, even.
        energy: c -> V on c = h/2 channels.
        inverse_mass: m⁻¹ of every channel at the start; learned.

    Reference: Greydanus, Dzamba & Yosinski, NeurIPS 2019, with an energy between tokens instead of coordinates.
    Shape: z (b k h) -> dz/dt (b k h).
    """

    def __init__(self, dim: int, *, energy: Callable[[int], Energy] = AttentionEnergy, inverse_mass: float = 1.0):
        super().__init__()
        if dim % 2:
            raise ValueError(f"CanonicalHamiltonian splits channels into positions and momenta; {dim} is odd. Use {dim + 1}.")
        if inverse_mass <= 0:
            raise ValueError(f"CanonicalHamiltonian got inverse_mass = {inverse_mass}; masses are positive. Give a number above 0.")
        self.v = energy(dim // 2)
        self.log_inverse_mass = nn.Parameter(torch.full((dim // 2,), math.log(inverse_mass)))

    def potential(
        self, q: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k c"]]:
        """V(q) and ∇V(q)."""
        return self.v.value_and_grad(q, context)

    def inverse_mass(self) -> Float[Tensor, "c"]:
        """m⁻¹ > 0 of each channel."""
        return self.log_inverse_mass.exp()

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """(m⁻¹ p, −∇V)."""
        q, p = z.chunk(2, dim=-1)
        return torch.cat([self.inverse_mass() * p, -self.potential(q, context)[1]], dim=-1)


class DampedHamiltonian(LawfulField):
    r"""The double bracket of a learned energy: a Hamiltonian flow that also slides downhill.

        dx/dt = J ∇E − γ JᵀJ ∇E,   JᵀJ = 1,   dE/dt = −γ |∇E|² ≤ 0

    Args:
        dim: token width h, even.
        energy: c -> V on c = h/2 channels.
        gamma: damping γ, the initial value if learned.
        learned: whether γ is trained; a fixed γ = 0 is the Hamiltonian flow, bit by bit.
    """

    law = Law.DECAY

    def __init__(self, dim: int, *, energy: Callable[[int], Energy] = AttentionEnergy, gamma: float = 0.1, learned: bool = True):
        super().__init__()
        self.conservative = CanonicalHamiltonian(dim, energy=energy)
        self.damping = Damping(gamma, learned=learned)

    def energy(self, state: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b"]:
        """E = T + V."""
        return self.conservative.energy(state, context)

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """J ∇E − γ ∇E."""
        q, p = z.chunk(2, dim=-1)
        grad_q, grad_p = self.conservative.potential(q, context)[1], self.conservative.inverse_mass() * p
        gamma = self.damping()
        return torch.cat([grad_p - gamma * grad_q, -grad_q - gamma * grad_p], dim=-1)


class Damping(nn.Module):
    """γ ≥ 0, learned through a softplus or fixed."""

    def __init__(self, gamma: float, *, learned: bool):
        super().__init__()
        if gamma < 0 or (learned and gamma == 0):
            raise ValueError(f"Damping {gamma} would add energy or never train. Give gamma > 0, or gamma = 0 with learned=False.")
        raw = torch.tensor(float(gamma)).expm1().log() if learned else torch.tensor(float(gamma))
        self.learned = learned
        if learned:
            self.raw = nn.Parameter(raw)
        else:
            self.register_buffer("raw", raw)

    def forward(self) -> Float[Tensor, ""]:
        """γ."""
        return nn.functional.softplus(self.raw) if self.learned else self.raw
