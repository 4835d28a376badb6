"""Korteweg–de Vries: solitons that pass through each other."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from torch import Tensor

from .evolution import Evolution, Quantity, Step, random_field
from .solvers.spectral import (
    ETDRK4,
    fields_flow,
    gradient,
    integral,
    self_advection,
    two_thirds,
    wavenumbers,
)

STEPS = 50  # per interval


class KortewegDeVries(Evolution):
    r"""u_t + 6 u u_x + u_xxx = 0 on the periodic interval of length 32, a frame every 0.1.

    Mass ∫u, momentum ∫u² and energy ∫ ½u_x² − u³ are constant. Initial states are Gaussian with
    modes |j| ≤ 6, deviation ∝ exp(−(j/4)²/2) and mean square ½. ETDRK4 in float64.
    """

    name: ClassVar[str] = "kdv"
    samples: ClassVar[int] = 660
    resolution: ClassVar[int] = 128
    states: ClassVar[dict[str, str]] = {"u": "elevation"}
    interval: ClassVar[float] = 0.1
    points: int = 256
    lengths: tuple[float, ...] = (32.0,)

    def initial(
        self, random: np.random.Generator, points: tuple[int, ...]
    ) -> dict[str, np.ndarray | float]:
        """See `Evolution`."""
        j = np.arange(1, 7)
        scale = np.sqrt(0.5 / (2 * np.exp(-((j / 4) ** 2)).sum()))
        return {
            "u": random_field(
                random, points, modes=6, deviation=lambda j: scale * np.exp(-((j / 4) ** 2) / 2)
            )
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
        (k,) = wavenumbers(points, self.lengths, device=device)
        steps = STEPS * refine
        steepen = self_advection(points, self.lengths, speed=6.0, device=device)
        solver = ETDRK4(
            1j * k**3 * two_thirds(points, device=device), steepen, dt=self.interval / steps
        )
        return fields_flow(solver, points, steps=steps)

    def conserved(self) -> dict[str, Quantity]:
        """The first three of infinitely many."""

        def energy(z: Tensor) -> Tensor:
            u = z[..., 0, :]
            return integral(gradient(u, self.lengths)[0] ** 2 / 2 - u**3, self.lengths)

        return {
            "mass": lambda z: integral(z[..., 0, :], self.lengths),
            "momentum": lambda z: integral(z[..., 0, :] ** 2, self.lengths),
            "energy": energy,
        }

    def symmetries(self) -> list[dict]:
        """Translations; a mirror image would have to run backwards in time."""
        return [{"shift": ["x"]}]
