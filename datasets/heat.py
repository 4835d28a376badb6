"""Heat conduction: every mode decays on its own, and the decoded field can be checked exactly."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from .evolution import Evolution, Quantity, Step, random_field, torus
from .solvers.spectral import integral, wavenumbers


class Heat(Evolution):
    r"""u_t = κ Δu on the periodic unit box, κ = 0.01, solved exactly; a frame every 0.05.

    ∫u is constant, ½∫u² and the extremes never grow. Initial modes |j| ≤ 12 with deviation 1/(1 +
    j²), and a mean ~ N(0, 1).

    Args:
        dim: space dimension, 1 or 2.
        diffusivity: κ.
    """

    name: ClassVar[str] = "heat"
    samples: ClassVar[int] = 660
    resolution: ClassVar[int] = 64
    states: ClassVar[dict[str, str]] = {"u": "temperature"}
    interval: ClassVar[float] = 0.05
    points: int = 64

    def __init__(
        self,
        *,
        dim: Literal[1, 2] = 1,
        diffusivity: float = 0.01,
        part: Literal["train", "test"] = "train",
        frames: int | None = None,
    ):
        super().__init__(part=part, frames=frames)
        if not diffusivity >= 0:
            raise ValueError(
                f"`diffusivity` is {diffusivity}, but the heat equation is ill-posed for a "
                "negative one. Give a number of at least 0."
            )
        self.dim = dim
        self.diffusivity = diffusivity
        self.lengths = (1.0,) * dim

    def initial(
        self, random: np.random.Generator, points: tuple[int, ...]
    ) -> dict[str, np.ndarray | float]:
        """See `Evolution`."""
        u = random_field(random, points, modes=12, deviation=lambda j: 1 / (1 + j**2))
        return {"u": u + random.standard_normal()}

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
        decay = torch.exp(-self.diffusivity * self.interval * k2)
        return lambda u: torch.fft.irfftn(decay * torch.fft.rfftn(u, dim=dims), s=points, dim=dims)

    def conserved(self) -> dict[str, Quantity]:
        """The amount of heat."""
        return {"heat": lambda z: integral(z.select(-1 - self.dim, 0), self.lengths)}

    def dissipated(self) -> dict[str, Quantity]:
        """½∫u²."""
        return {"square": lambda z: integral(z.select(-1 - self.dim, 0) ** 2 / 2, self.lengths)}

    def symmetries(self) -> list[dict]:
        """See `Problem`."""
        return torus("xy"[: self.dim], negate=("u",))
