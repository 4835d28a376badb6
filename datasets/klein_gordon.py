"""Nonlinear Klein–Gordon: waves that scatter off each other, with an exact energy."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from .evolution import Evolution, Quantity, Step, random_field, torus
from .solvers.spectral import gradient, integral, wavenumbers
from .solvers.splitting import splitting

# Per interval; the tests measure the error of a trajectory of 400 frames and of its energy.
STEPS = 4


class KleinGordon(Evolution):
    r"""u_tt = Δu − u³ on the periodic box of length 4, states u and v = u_t, a frame every 0.1.

    Energy ∫ ½v² + ½|∇u|² + ¼u⁴ and momentum −∫ v ∇u are constant. Initial u and v are Gaussian with
    modes |j| ≤ 4 and deviation ∝ exp(−(j/2)²/2), of mean square 1 each. Exact linear waves and
    exact kicks by −u³, composed to order 4.

    Args:
        dim: space dimension, 1 or 2.
    """

    name: ClassVar[str] = "klein_gordon"
    samples: ClassVar[int] = 660
    resolution: ClassVar[int] = 64
    states: ClassVar[dict[str, str]] = {"u": "displacement", "v": "velocity u_t"}
    interval: ClassVar[float] = 0.1
    points: int = 128
    default_frames: ClassVar[tuple[int, int]] = (20, 400)

    def __init__(
        self,
        *,
        dim: Literal[1, 2] = 1,
        part: Literal["train", "test"] = "train",
        frames: int | None = None,
    ):
        super().__init__(part=part, frames=frames)
        self.dim = dim
        self.lengths = (4.0,) * dim

    def initial(
        self, random: np.random.Generator, points: tuple[int, ...]
    ) -> dict[str, np.ndarray | float]:
        """See `Evolution`."""
        j = np.stack(np.meshgrid(*[np.arange(-4, 5)] * self.dim)).reshape(self.dim, -1)
        scale = np.sqrt(np.exp(-(j**2).sum(0) / 4).sum() - 1)
        return {
            name: random_field(
                random, points, modes=4, deviation=lambda j: np.exp(-((j / 2) ** 2) / 2) / scale
            )
            for name in self.states
        }

    def stepper(
        self,
        points: tuple[int, ...],
        statics: dict[str, Tensor],
        *,
        refine: int = 1,
        device: str = "cpu",
    ) -> Step:
        """See `Evolution`."""
        dims = tuple(range(-self.dim, 0))
        omega = sum(k**2 for k in wavenumbers(points, self.lengths, device=device)) ** 0.5

        def drift(h: float) -> Step:  # û ← û cos ωh + v̂ sin(ωh)/ω,  v̂ ← v̂ cos ωh − û ω sin ωh
            cosine = torch.cos(omega * h)
            sine = torch.sin(omega * h)
            over = h * torch.sinc(omega * h / torch.pi)

            def flow(z: Tensor) -> Tensor:
                u, v = torch.fft.rfftn(z, dim=dims).unbind(1)
                moved = torch.stack([cosine * u + over * v, cosine * v - omega * sine * u], dim=1)
                return torch.fft.irfftn(moved, s=points, dim=dims)

            return flow

        def kick(h: float) -> Step:
            return lambda z: torch.stack([z[:, 0], z[:, 1] - h * z[:, 0] ** 3], dim=1)

        steps = STEPS * refine
        return splitting(drift, kick, dt=self.interval / steps, steps=steps)

    def conserved(self) -> dict[str, Quantity]:
        """Energy and the momentum along x."""
        lengths = self.lengths

        def energy(z: Tensor) -> Tensor:
            u, v = z.unbind(-1 - len(lengths))
            slopes = sum(g**2 for g in gradient(u, lengths))
            return integral((v**2 + slopes) / 2 + u**4 / 4, lengths)

        def momentum(z: Tensor) -> Tensor:
            u, v = z.unbind(-1 - len(lengths))
            return -integral(v * gradient(u, lengths)[0], lengths)

        return {"energy": energy, "momentum": momentum}

    def symmetries(self) -> list[dict]:
        """See `Problem`."""
        return torus("xy"[: self.dim], negate=("u", "v"))
