"""Focusing nonlinear Schrödinger: bright solitons and modulational instability."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .evolution import Evolution, Quantity, Step, random_field, torus
from .solvers.spectral import gradient, integral, wavenumbers
from .solvers.splitting import splitting

STEPS = 10  # per interval


class Schroedinger(Evolution):
    r"""i ψ_t + ½ ψ_xx + |ψ|² ψ = 0 on the periodic interval of length 16.

    The states are p = Re ψ and q = Im ψ, with a frame every 0.1.

    Mass ∫|ψ|², momentum ∫ Im(ψ* ψ_x) and energy ∫ ½|ψ_x|² − ½|ψ|⁴ are constant. Initial p and q are
    Gaussian with modes
    |j| ≤ 5, deviation ∝ exp(−(j/3)²/2) and mean square 0.3 each. Exact dispersion and exact phase
    rotation, composed to order 4.
    """

    name: ClassVar[str] = "nls"
    samples: ClassVar[int] = 660
    resolution: ClassVar[int] = 128
    states: ClassVar[dict[str, str]] = {"p": "real part", "q": "imaginary part"}
    interval: ClassVar[float] = 0.1
    points: int = 256
    lengths: tuple[float, ...] = (16.0,)

    def initial(
        self, random: np.random.Generator, points: tuple[int, ...]
    ) -> dict[str, np.ndarray | float]:
        """See `Evolution`."""
        j = np.arange(1, 6)
        scale = np.sqrt(0.3 / (2 * np.exp(-((j / 3) ** 2)).sum()))

        def part() -> np.ndarray:
            return random_field(
                random, points, modes=5, deviation=lambda j: scale * np.exp(-((j / 3) ** 2) / 2)
            )

        return {"p": part(), "q": part()}

    def stepper(
        self,
        points: tuple[int, ...],
        statics: dict[str, Tensor],
        *,
        refine: int = 1,
        device: str = "cpu",
    ) -> Step:
        """See `Evolution`."""
        (k,) = wavenumbers(points, self.lengths, real=False, device=device)

        def disperse(h: float) -> Step:
            phase = torch.exp(-0.5j * h * k**2)
            return lambda psi: torch.fft.ifft(phase * torch.fft.fft(psi))

        def rotate(h: float) -> Step:
            return lambda psi: psi * torch.exp(1j * h * (psi.real**2 + psi.imag**2))

        steps = STEPS * refine
        flow = splitting(disperse, rotate, dt=self.interval / steps, steps=steps)

        def step(z: Tensor) -> Tensor:
            psi = flow(torch.complex(z[:, 0], z[:, 1]))
            return torch.stack([psi.real, psi.imag], dim=1)

        return step

    def conserved(self) -> dict[str, Quantity]:
        """Mass, momentum, energy."""
        lengths = self.lengths

        def momentum(z: Tensor) -> Tensor:
            p, q = z.unbind(-2)
            return integral(p * gradient(q, lengths)[0] - q * gradient(p, lengths)[0], lengths)

        def energy(z: Tensor) -> Tensor:
            density = (z**2).sum(-2)
            return integral((gradient(z, lengths)[0] ** 2).sum(-2) / 2 - density**2 / 2, lengths)

        return {
            "mass": lambda z: integral((z**2).sum(-2), lengths),
            "momentum": momentum,
            "energy": energy,
        }

    def symmetries(self) -> list[dict]:
        """Translations, mirror images and the half turn of the phase."""
        return torus("x", negate=("p", "q"))
