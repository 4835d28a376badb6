"""Shallow water: gravity waves that steepen, over a flat periodic bottom."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from .evolution import Evolution, Quantity, Step, random_field
from .solvers.spectral import ETDRK4, fields_flow, integral, two_thirds, wavenumbers

STEPS = 20  # per interval


class ShallowWater(Evolution):
    r"""h_t + ∇·(h u) = 0,  u_t + (u·∇) u + ∇h = ν Δu

    on the periodic unit box (gravity 1, mean depth 1), states h and u = (u, v), a frame every 0.05.
    Mass ∫h and the mean vorticity are constant. Initially the water rests under a Gaussian surface,
    modes |j| ≤ 3, of deviation 0.08. ETDRK4 with 2/3 dealiasing in float64.

    Args:
        viscosity: ν, which keeps bores as wide as the grid of 128² can show.
    """

    name: ClassVar[str] = "shallow_water"
    samples: ClassVar[int] = 330
    test_samples: ClassVar[int] = 50
    resolution: ClassVar[int] = 64
    batch: ClassVar[int] = 4
    states: ClassVar[dict[str, str]] = {
        "h": "depth",
        "u": "velocity along x",
        "v": "velocity along y",
    }
    interval: ClassVar[float] = 0.05
    points: int = 128
    lengths: tuple[float, ...] = (1.0, 1.0)

    def __init__(
        self,
        *,
        viscosity: float = 4e-3,
        part: Literal["train", "test"] = "train",
        frames: int | None = None,
    ):
        super().__init__(part=part, frames=frames)
        self.viscosity = viscosity

    def initial(
        self, random: np.random.Generator, points: tuple[int, ...]
    ) -> dict[str, np.ndarray | float]:
        """See `Evolution`."""
        j = np.arange(-3, 4)
        scale = 0.08 / np.sqrt(np.exp(-(j[:, None] ** 2 + j**2) / 4).sum() - 1)
        h = 1 + random_field(
            random, points, modes=3, deviation=lambda j: scale * np.exp(-(j**2) / 8)
        )
        return {"h": h, "u": np.zeros(points), "v": np.zeros(points)}

    def stepper(
        self,
        points: tuple[int, ...],
        statics: dict[str, Tensor],
        *,
        refine: int = 1,
        device: str = "cpu",
    ) -> Step:
        """See `Evolution`."""
        kx, ky = wavenumbers(points, self.lengths, device=device)
        keep = two_thirds(points, device=device)
        friction = -self.viscosity * (kx**2 + ky**2)
        linear = torch.stack([0 * friction, friction, friction])

        def flow(z: Tensor) -> Tensor:
            z = z * keep
            vorticity = 1j * kx * z[:, 2] - 1j * ky * z[:, 1]
            h, u, v, curl = torch.fft.irfft2(
                torch.cat([z, vorticity[:, None]], dim=1), s=points
            ).unbind(1)
            products = torch.stack(
                [h * u, h * v, (u**2 + v**2) / 2 + h, curl * v, -curl * u], dim=1
            )
            hu, hv, head, turn_u, turn_v = (keep * torch.fft.rfft2(products)).unbind(1)
            rates = (-1j * (kx * hu + ky * hv), turn_u - 1j * kx * head, turn_v - 1j * ky * head)
            return torch.stack(rates, dim=1)

        steps = STEPS * refine
        return fields_flow(ETDRK4(linear, flow, dt=self.interval / steps), points, steps=steps)

    def conserved(self) -> dict[str, Quantity]:
        """Mass."""
        return {"mass": lambda z: integral(z[..., 0, :, :], self.lengths)}

    def symmetries(self) -> list[dict]:
        """Swapping the axes would also have to swap u and v, which a file cannot say."""
        return [
            {"shift": ["x", "y"]},
            {"flip": ["x"], "negate": ["u"]},
            {"flip": ["y"], "negate": ["v"]},
        ]
