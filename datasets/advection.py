"""Transport of a discontinuous profile: the output is the input, moved."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import xarray as xr

from .base import Problem, circle, field

MODES = 512


class Advection(Problem):
    r"""The map a -> u(·, ½) of

        u_t + u_x = 0,  x ∈ [0, 1) periodic,
        u(x, 0) = a(x) = −1 + 2·1{g(x) ≥ 0},  g ~ N(0, (−Δ + 9)⁻²)

    so u(x, ½) = a(x − ½), evaluated exactly at the points i/resolution. Modes 1 ≤ |j| ≤ 512 of g:
    with its constant mode, which is eight times as strong as the first wave, 72 % of the profiles
    would be constant, and the published medians (0.025) say that theirs are not.

    Reference: de Hoop, Huang, Qian & Stuart, J. Mach. Learn. 1 (2022); protocol of Wang et al.,
    CViT, ICLR 2025 (20000 training, 10000 validation and 10000 test samples on 200 points).
    """

    name: ClassVar[str] = "advection"
    samples: ClassVar[int] = 40000
    shares: ClassVar[tuple[float, float, float]] = (0.5, 0.25, 0.25)
    resolution: ClassVar[int] = 200
    batch: ClassVar[int] = 1000
    published: ClassVar[dict[str, str]] = {
        "NOMAD": "mean rel. L2 0.0328: Wang et al., CViT",
        "CViT": "mean rel. L2 0.0335: Wang et al., CViT",
        "FNO": "mean rel. L2 0.0408: Wang et al., CViT",
        "DeepONet": "mean rel. L2 0.0575: Wang et al., CViT",
    }

    def profile(self, indices: range, x: np.ndarray, *, seed: int) -> np.ndarray:
        """a at the points x. Shape: (n) -> (b n)."""
        j = np.arange(1, MODES + 1)
        deviation = np.sqrt(2) / ((2 * np.pi * j) ** 2 + 9)
        noise = np.stack(
            [self.random(seed, index).standard_normal((2, MODES)) for index in indices]
        )
        phase = 2 * np.pi * np.outer(j, x)
        g = (deviation * noise[:, 0]) @ np.cos(phase) + (deviation * noise[:, 1]) @ np.sin(phase)
        return np.where(g >= 0, 1.0, -1.0)

    def symmetries(self) -> list[dict]:
        """Translations, and a change of sign; mirroring would turn the wind."""
        return [{"shift": ["x"]}, {"negate": ["a", "u"]}]

    def solve(
        self, indices: range, *, resolution: int, seed: int, device: str = "cpu"
    ) -> xr.Dataset:
        """Variables `a` and `u` over (sample, x)."""
        axis = circle("x", resolution)
        a, u = (
            torch.from_numpy(self.profile(indices, axis.values - t, seed=seed)) for t in (0, 0.5)
        )
        return xr.Dataset(
            {
                "a": field(a, "x", role="input", long_name="initial profile"),
                "u": field(u, "x", role="output", long_name="profile at time ½"),
            },
            coords={"x": axis},
        )
