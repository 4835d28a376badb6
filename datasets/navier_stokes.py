"""Incompressible Navier–Stokes in two dimensions, as vorticity on the torus."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from .evolution import Evolution, Quantity, Step, random_field
from .solvers.spectral import ETDRK4, fields_flow, integral, two_thirds, wavenumbers

STEPS = 25  # per interval


class NavierStokes(Evolution):
    r"""w_t + u·∇w = ν Δw + f,  u = (ψ_y, −ψ_x),  −Δψ = w,  f = A (sin 2π(x + y) + cos 2π(x + y))

    on the unit torus, a frame every 1. w₀ ~ N(0, 7³ (−Δ + 49)^−2.5) without mean, as the published
    generator draws it (the paper prints 7^{3/2}), modes |j| ≤ 20. ETDRK4 with 2/3 dealiasing in
    float64 on 64² points for ν ≥ 1e-3, 128² for ν ≥ 1e-4, 256² below; the published data are by
    Crank–Nicolson with dt = 1e-4 on 256². At ν = 1e-3 the 20th frame on 64² points differs from the
    same on 128² by 3e-13 of its norm, from that of half the time step by 3e-12 (seed 0, sample 0).

    Reference: Li et al., Fourier neural operator for parametric PDEs, ICLR 2021, Section 5.3.

    Args:
        viscosity: ν; 1e-3, 1e-4 and 1e-5 are published.
        forcing: A.
    """

    name: ClassVar[str] = "navier_stokes"
    samples: ClassVar[int] = 1100
    test_samples: ClassVar[int] = 200
    resolution: ClassVar[int] = 64
    batch: ClassVar[int] = 4
    states: ClassVar[dict[str, str]] = {"w": "vorticity"}
    interval: ClassVar[float] = 1.0
    points: int = 64
    lengths: tuple[float, ...] = (1.0, 1.0)
    published: ClassVar[dict[str, str]] = {
        "FNO, ν = 1e-3, 10 -> 20 frames, 1000/200": "rel. L2 0.0128: README of HaoZhongkai/DPOT",
        "DPOT-M, ν = 1e-3, 10 -> 20 frames, 1000/200": "rel. L2 0.00474: "
        "README of HaoZhongkai/DPOT",
        "FNO, ν = 1e-4, 10 -> 20 frames, 9800/200": "rel. L2 0.0834: README of HaoZhongkai/DPOT",
        "FNO, ν = 1e-5, 10 -> 10 frames, 1000/200": "rel. L2 0.1556: Li et al. 2021",
    }

    def __init__(
        self,
        *,
        viscosity: float = 1e-3,
        forcing: float = 0.1,
        part: Literal["train", "test"] = "train",
        frames: int | None = None,
    ):
        super().__init__(part=part, frames=frames)
        if not viscosity >= 1e-5:
            raise ValueError(
                f"`viscosity` {viscosity} needs more than 256² points. Take at least 1e-5."
            )
        self.viscosity = viscosity
        self.forcing = forcing
        self.points = 64 if viscosity >= 1e-3 else 128 if viscosity >= 1e-4 else 256

    def initial(
        self, random: np.random.Generator, points: tuple[int, ...]
    ) -> dict[str, np.ndarray | float]:
        """See `Evolution`."""
        w = random_field(
            random,
            points,
            modes=20,
            deviation=lambda j: 7**1.5 * ((2 * np.pi * j) ** 2 + 49) ** -1.25,
        )
        return {"w": w}

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
        k2 = kx**2 + ky**2
        inverse = torch.where(k2 > 0, 1 / k2.clamp(min=1), 0)
        keep = two_thirds(points, device=device)
        x, y = (torch.arange(n, dtype=torch.float64, device=device) / n for n in points)
        phase = 2 * torch.pi * (x[:, None] + y)
        force = torch.fft.rfft2(self.forcing * (torch.sin(phase) + torch.cos(phase)))
        # u, v, w_x, w_y from w in one batched transform
        parts = keep * torch.stack(
            [1j * ky * inverse, -1j * kx * inverse, 1j * kx + 0 * ky, 1j * ky + 0 * kx]
        )

        def advect(w: Tensor) -> Tensor:
            u, v, w_x, w_y = torch.fft.irfft2(parts * w, s=points).unbind(1)
            return force - keep * torch.fft.rfft2(u * w_x + v * w_y)[:, None]

        steps = STEPS * refine
        solver = ETDRK4(-self.viscosity * k2, advect, dt=self.interval / steps)
        return fields_flow(solver, points, steps=steps)

    def conserved(self) -> dict[str, Quantity]:
        """Circulation, which is 0."""
        return {"circulation": lambda z: integral(z[..., 0, :, :], self.lengths)}

    def dissipated(self) -> dict[str, Quantity]:
        """Enstrophy ½∫w², where nothing forces."""
        if self.forcing:
            return {}
        return {"enstrophy": lambda z: integral(z[..., 0, :, :] ** 2 / 2, self.lengths)}

    def symmetries(self) -> list[dict]:
        """None with forcing; else those of the torus, where mirrors change the sign."""
        if self.forcing:
            return []
        mirrors = [{"flip": ["x"]}, {"flip": ["y"]}, {"permute": ["y", "x"]}]
        return [{"shift": ["x", "y"]}, *({**m, "negate": ["w"]} for m in mirrors)]
