"""Viscous Burgers on a circle: from the initial state to the state at time 1."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import xarray as xr
from jaxtyping import Complex
from torch import Tensor

from .base import Problem, circle, field
from .solvers.spectral import ETDRK4, resample, sample_at, self_advection, wavenumbers

MODES = 512  # of the initial state: the modes left out carry 1e-4 of its norm, and nothing of u(1)

# (until, steps): fine while the rough initial state smooths out, then coarser where no shock forms.
# Measured time error of u(1), relative L2, worst of a batch: 4e-9 (ν = 0.1), 1e-8 (ν = 0.001).
SMOOTH = ((0.1, 200), (1.0, 200))
SHOCKS = ((0.1, 200), (1.0, 900))


class Burgers(Problem):
    r"""The map a -> u(·, 1) of

        u_t + ½ (u²)_x = ν u_xx,  x ∈ [0, 1) periodic,  u(x, 0) = a(x) ~ N(0, 625 (−Δ + 25)⁻²)

    Both are stored at the points i/resolution. The mean of a is 0, as in the published generator (a
    mean only translates the solution). Solved by ETDRK4 in float64 on 256 points, or 2/ν if that is
    more.

    Reference: Li et al., Fourier neural operator for parametric PDEs, ICLR 2021, Section 5.1.

    Args:
        viscosity: ν; 0.1 as published, 0.001 makes shocks.
    """

    name: ClassVar[str] = "burgers"
    samples: ClassVar[int] = 1200
    shares: ClassVar[tuple[float, float, float]] = (10 / 12, 1 / 12, 1 / 12)
    resolution: ClassVar[int] = 512
    batch: ClassVar[int] = 48
    published: ClassVar[dict[str, str]] = {
        "FNO, s = 1024, 1000/100": "rel. L2 0.0160: Li et al. 2021; 0.0025 "
        "with corrected code: neuraloperator#30",
        "Galerkin transformer, n = 2048, 1000/100": "rel. L2 7e-4: README of "
        "scaomath/galerkin-transformer",
    }

    def __init__(self, *, viscosity: float = 0.1):
        if not viscosity >= 1e-4:
            raise ValueError(
                f"`viscosity` {viscosity} makes shocks that need over 20000 points. "
                "Take at least 1e-4."
            )
        self.viscosity = viscosity

    @property
    def points(self) -> int:
        """Internal grid: doubling it changes u(1) by less than 1e-9 of its norm."""
        return 2 ** int(np.ceil(np.log2(max(256, 2 / self.viscosity))))

    def initial(self, indices: range, *, seed: int) -> Complex[Tensor, "b k"]:
        """Fourier coefficients of a, j = 0 … MODES, scaled for a grid of 2·MODES points."""
        j = np.arange(1, MODES + 1)
        deviation = 25 / ((2 * np.pi * j) ** 2 + 25)
        out = np.zeros((len(indices), MODES + 1), dtype=complex)
        for row, index in zip(out, indices, strict=True):
            cosine, sine = self.random(seed, index).standard_normal((2, MODES))
            row[1:] = deviation * (cosine - 1j * sine) / np.sqrt(2)
        out[:, -1] = 0  # the Nyquist mode of that grid
        return torch.from_numpy(out * 2 * MODES)

    def evolve(
        self, v: Complex[Tensor, "b k"], *, points: int, refine: int = 1
    ) -> Complex[Tensor, "b k"]:
        """Coefficients on `points` points, from time 0 to 1; `refine` divides the time step."""
        (k,) = wavenumbers((points,), (1.0,), device=v.device)
        start = 0.0
        steepen = self_advection((points,), (1.0,), device=v.device)
        for until, steps in SMOOTH if self.viscosity >= 0.05 else SHOCKS:
            solver = ETDRK4(-self.viscosity * k**2, steepen, dt=(until - start) / (steps * refine))
            v = solver.run(v, steps=steps * refine)
            start = until
        return v

    def symmetries(self) -> list[dict]:
        """See `Problem`."""
        return [{"shift": ["x"]}, {"flip": ["x"], "negate": ["a", "u"]}]

    def solve(
        self, indices: range, *, resolution: int, seed: int, device: str = "cpu"
    ) -> xr.Dataset:
        """Variables `a` and `u` over (sample, x)."""
        a = self.initial(indices, seed=seed).to(device)
        u = self.evolve(resample(a, 2 * MODES, self.points), points=self.points)
        data = {
            "a": field(
                sample_at(a, 2 * MODES, resolution), "x", role="input", long_name="initial state"
            ),
            "u": field(
                sample_at(u, self.points, resolution),
                "x",
                role="output",
                long_name="state at time 1",
            ),
        }
        return xr.Dataset(data, coords={"x": circle("x", resolution)})
