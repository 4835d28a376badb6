"""Kuramoto–Sivashinsky: chaos in one dimension."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .evolution import Evolution, Quantity, Step, random_field
from .solvers.spectral import (
    ETDRK4,
    fields_flow,
    integral,
    sample_at,
    self_advection,
    wavenumbers,
)

STEPS = 20  # per interval
BURN_IN = 100  # intervals


class KuramotoSivashinsky(Evolution):
    r"""u_t = −½ (u²)_x − u_xx − u_xxxx on the periodic interval of length 22, a frame every 1.

    ∫u stays 0. A burn-in of 100 puts trajectories on the attractor. Nearby ones part by a factor e
    about every 20 time units (Lyapunov exponent 0.05), so errors of single trajectories are
    meaningful for some hundred frames at most, and later ones should be judged by their statistics.
    ETDRK4 in float64.

    Reference: Kassam & Trefethen, SIAM J. Sci. Comput. 26 (2005); length 22 as in Cvitanović,
    Davidchack & Siminos 2010.
    """

    name: ClassVar[str] = "ks"
    samples: ClassVar[int] = 660
    resolution: ClassVar[int] = 64
    states: ClassVar[dict[str, str]] = {"u": "front slope"}
    interval: ClassVar[float] = 1.0
    points: int = 64
    lengths: tuple[float, ...] = (22.0,)

    def initial(
        self, random: np.random.Generator, points: tuple[int, ...]
    ) -> dict[str, np.ndarray | float]:
        """See `Evolution`; before the burn-in."""
        return {
            "u": random_field(
                random, points, modes=6, deviation=lambda j: np.exp(-((j / 3) ** 2) / 2)
            )
        }

    def start(
        self, indices: range, points: tuple[int, ...], *, seed: int, device: str = "cpu"
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Evolution`; the burn-in uses one grid, because chaos amplifies differences."""
        own = (self.points,)
        state, statics = super().start(indices, own, seed=seed, device=device)
        step = self.stepper(own, statics, device=device)
        for _ in range(BURN_IN):
            state = step(state)
        return fourier_values(state, points[0]), statics

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
        steepen = self_advection(points, self.lengths, device=device)
        solver = ETDRK4(k**2 - k**4, steepen, dt=self.interval / steps)
        return fields_flow(solver, points, steps=steps)

    def conserved(self) -> dict[str, Quantity]:
        """The mean, which is 0."""
        return {"mean": lambda z: integral(z[..., 0, :], self.lengths)}

    def symmetries(self) -> list[dict]:
        """See `Problem`."""
        return [{"shift": ["x"]}, {"flip": ["x"], "negate": ["u"]}]


def fourier_values(u: Tensor, points: int) -> Tensor:
    """The trigonometric polynomial through u (… x) at i/points."""
    return sample_at(torch.fft.rfft(u), u.shape[-1], points)
