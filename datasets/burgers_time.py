"""Burgers in time: steepening fronts that dissipate."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from .evolution import Evolution, Quantity, Step, random_field
from .solvers.spectral import ETDRK4, fields_flow, integral, self_advection, wavenumbers

STEPS = 20  # per interval


class BurgersTime(Evolution):
    r"""u_t + ½ (u²)_x = ν u_xx on the periodic unit interval, a frame every 0.02.

    ∫u is constant and ½∫u² falls. Initial states are Gaussian with modes |j| ≤ 8, deviation ∝ 1/(1
    + j²) and mean square ½. ETDRK4 in float64 with 2/3 dealiasing.

    Args:
        viscosity: ν, at least 0.002 on the solver's 512 points.
    """

    name: ClassVar[str] = "burgers_time"
    samples: ClassVar[int] = 660
    resolution: ClassVar[int] = 128
    states: ClassVar[dict[str, str]] = {"u": "velocity"}
    interval: ClassVar[float] = 0.02
    points: int = 512
    lengths: tuple[float, ...] = (1.0,)

    def __init__(
        self,
        *,
        viscosity: float = 0.01,
        part: Literal["train", "test"] = "train",
        frames: int | None = None,
    ):
        super().__init__(part=part, frames=frames)
        if not viscosity >= 0.002:
            raise ValueError(
                f"`viscosity` {viscosity} makes shocks thinner than the solver's grid. "
                "Take at least 0.002."
            )
        self.viscosity = viscosity

    def initial(
        self, random: np.random.Generator, points: tuple[int, ...]
    ) -> dict[str, np.ndarray | float]:
        """See `Evolution`."""
        scale = np.sqrt(0.25 / (1 / (1 + np.arange(1, 9) ** 2) ** 2).sum())
        return {"u": random_field(random, points, modes=8, deviation=lambda j: scale / (1 + j**2))}

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
        solver = ETDRK4(-self.viscosity * k**2, steepen, dt=self.interval / steps)
        return fields_flow(solver, points, steps=steps)

    def conserved(self) -> dict[str, Quantity]:
        """Momentum."""
        return {"momentum": lambda z: integral(z[..., 0, :], self.lengths)}

    def dissipated(self) -> dict[str, Quantity]:
        """Kinetic energy."""
        return {"energy": lambda z: integral(z[..., 0, :] ** 2 / 2, self.lengths)}

    def symmetries(self) -> list[dict]:
        """See `Problem`."""
        return [{"shift": ["x"]}, {"flip": ["x"], "negate": ["u"]}]
