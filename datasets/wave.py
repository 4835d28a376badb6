"""Linear waves through a medium of variable speed, with an exact energy."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from .evolution import Evolution, Quantity, Step, random_field, torus
from .solvers.spectral import gradient, integral
from .solvers.splitting import splitting

STEPS = 10  # per interval


class Wave(Evolution):
    r"""u_tt = ∇·(c² ∇u) on the periodic box of length 4; states u, v = u_t, input c.

    A frame every 0.1.

    Energy ∫ ½v² + ½c²|∇u|² and the mean of v are constant. ln c is Gaussian with modes |j| ≤ 2 and
    deviation 0.3; u and v as for Klein–Gordon, without means. Spectral in space (the gradient is
    skew, so the energy is exact for the semi-discrete system), symplectic of order 4 in time.

    Args:
        dim: space dimension, 1 or 2.
    """

    name: ClassVar[str] = "wave"
    samples: ClassVar[int] = 660
    resolution: ClassVar[int] = 64
    states: ClassVar[dict[str, str]] = {"u": "displacement", "v": "velocity u_t"}
    statics: ClassVar[dict[str, str]] = {"c": "wave speed"}
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

        def smooth(modes: int, width: float, square: float) -> np.ndarray:
            j = np.stack(np.meshgrid(*[np.arange(-modes, modes + 1)] * self.dim)).reshape(
                self.dim, -1
            )
            scale = np.sqrt(square / (np.exp(-(j**2).sum(0) / width**2).sum() - 1))
            return random_field(
                random,
                points,
                modes=modes,
                deviation=lambda j: scale * np.exp(-((j / width) ** 2) / 2),
            )

        return {
            "u": smooth(4, 2.0, 1.0),
            "v": smooth(4, 2.0, 1.0),
            "c": np.exp(smooth(2, 2.0, 0.09)),
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
        square = statics["c"] ** 2

        def force(u: Tensor) -> Tensor:
            fluxes = (square * g for g in gradient(u, self.lengths))
            return sum(
                (gradient(flux, self.lengths)[axis] for axis, flux in enumerate(fluxes)),
                torch.zeros(()),
            )

        def drift(h: float) -> Step:
            return lambda z: torch.stack([z[:, 0] + h * z[:, 1], z[:, 1]], dim=1)

        def kick(h: float) -> Step:
            return lambda z: torch.stack([z[:, 0], z[:, 1] + h * force(z[:, 0])], dim=1)

        steps = STEPS * refine
        return splitting(drift, kick, dt=self.interval / steps, steps=steps)

    def conserved(self) -> dict[str, Quantity]:
        """The energy in the medium c, and the momentum ∫v."""

        def energy(z: Tensor, c: Tensor) -> Tensor:
            u, v = z.unbind(-1 - self.dim)
            return integral(
                (v**2 + c**2 * sum(g**2 for g in gradient(u, self.lengths))) / 2, self.lengths
            )

        return {
            "energy": energy,
            "momentum": lambda z, c: integral(z.select(-1 - self.dim, 1), self.lengths),
        }

    def symmetries(self) -> list[dict]:
        """See `Problem`."""
        return torus("xy"[: self.dim], negate=("u", "v"))
