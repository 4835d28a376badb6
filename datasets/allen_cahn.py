"""Allen–Cahn: phases that separate, and fronts that then hardly move."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from .evolution import Evolution, Quantity, Step, random_field, torus
from .solvers.spectral import (
    ETDRK4,
    fields_flow,
    gradient,
    integral,
    two_thirds,
    wavenumbers,
)

STEPS = 4  # per interval


class AllenCahn(Evolution):
    r"""u_t = ε² Δu + u − u³ on the periodic unit box, ε = 0.03, a frame every 0.2.

    The energy ∫ ½ε²|∇u|² + ¼(u² − 1)² falls along every solution. Initial states are Gaussian with
    modes |j| ≤ 8, deviation ∝ 1/(1 + j²) and mean square ¼. ETDRK4 in float64, products dealiased.

    Args:
        dim: space dimension, 1 or 2.
        width: ε, the half-width of fronts is √2 ε; at least 0.02 on the solver's 128 points.
    """

    name: ClassVar[str] = "allen_cahn"
    samples: ClassVar[int] = 660
    resolution: ClassVar[int] = 64
    states: ClassVar[dict[str, str]] = {"u": "order parameter"}
    interval: ClassVar[float] = 0.2
    points: int = 128

    def __init__(
        self,
        *,
        dim: Literal[1, 2] = 1,
        width: float = 0.03,
        part: Literal["train", "test"] = "train",
        frames: int | None = None,
    ):
        super().__init__(part=part, frames=frames)
        if not width >= 0.02:
            raise ValueError(
                f"`width` {width} makes fronts thinner than the solver's grid. Take at least 0.02."
            )
        self.dim = dim
        self.width = width
        self.lengths = (1.0,) * dim

    def initial(
        self, random: np.random.Generator, points: tuple[int, ...]
    ) -> dict[str, np.ndarray | float]:
        """See `Evolution`."""
        j = np.stack(np.meshgrid(*[np.arange(-8, 9)] * self.dim)).reshape(self.dim, -1)
        scale = np.sqrt(0.25 / ((1 / (1 + (j**2).sum(0)) ** 2).sum() - 1))
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
        dims = tuple(range(-self.dim, 0))
        k2 = sum((k**2 for k in wavenumbers(points, self.lengths, device=device)), torch.zeros(()))
        keep = two_thirds(points, device=device)
        steps = STEPS * refine

        def reaction(v: Tensor) -> Tensor:  # u − u³
            u = torch.fft.irfftn(v, s=points, dim=dims)
            return v - keep * torch.fft.rfftn(u**3, dim=dims)

        solver = ETDRK4(-(self.width**2) * k2, reaction, dt=self.interval / steps)
        return fields_flow(solver, points, steps=steps)

    def dissipated(self) -> dict[str, Quantity]:
        """The Ginzburg–Landau energy."""

        def energy(z: Tensor) -> Tensor:
            u = z.select(-1 - self.dim, 0)
            slopes = sum(g**2 for g in gradient(u, self.lengths))
            return integral(self.width**2 / 2 * slopes + (u**2 - 1) ** 2 / 4, self.lengths)

        return {"energy": energy}

    def symmetries(self) -> list[dict]:
        """See `Problem`."""
        return torus("xy"[: self.dim], negate=("u",))
