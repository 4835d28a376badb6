"""Gray–Scott: spots, stripes and waves of two reacting chemicals."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .evolution import Evolution, Step, torus
from .solvers.spectral import ETDRK4, fields_flow, two_thirds, wavenumbers

STEPS = 20  # per interval, twice the published number
FEED_KILL = (
    (0.014, 0.054),
    (0.098, 0.057),
    (0.029, 0.057),
    (0.058, 0.065),
    (0.018, 0.051),
    (0.03, 0.062),
)


class GrayScott(Evolution):
    r"""a_t = δ_a Δa − a b² + f (1 − a),  b_t = δ_b Δb + a b² − (f + k) b

    on the periodic box of length 2, δ_a = 2e-5, δ_b = 1e-5, a frame every 10. Feed f and kill k are
    parameters of a sample, one of the six pairs of The Well (gliders, bubbles, maze, worms,
    spirals, spots). Initially a = 1 − b/2 with 8 to 32 Gaussian drops of b. ETDRK4 in float64 on
    128² points as published, where fronts are about one point wide.

    Reference: Ohana et al., The Well, NeurIPS 2024 (`gray_scott_reaction_diffusion`); its initial
    states differ.
    """

    name: ClassVar[str] = "gray_scott"
    samples: ClassVar[int] = 132
    test_samples: ClassVar[int] = 24
    resolution: ClassVar[int] = 128
    batch: ClassVar[int] = 4
    states: ClassVar[dict[str, str]] = {
        "a": "concentration of the fed chemical",
        "b": "concentration of the other",
    }
    interval: ClassVar[float] = 10.0
    points: int = 128
    lengths: tuple[float, ...] = (2.0, 2.0)
    published: ClassVar[dict[str, str]] = {
        "FNO, 4 frames to 1": "VRMSE 0.1365: docs/benchmarks.md of "
        "PolymathicAI/the_well; 0.0372 re-trained: Flowers",
        "Flower-17M, 4 frames to 1": "VRMSE 0.0102: documentation of till-m/flowers",
    }

    def initial(
        self, random: np.random.Generator, points: tuple[int, ...]
    ) -> dict[str, np.ndarray | float]:
        """See `Evolution`."""
        x, y = np.meshgrid(*[np.arange(n) / n for n in points], indexing="ij")
        b = np.zeros(points)
        for cx, cy, height, width in random.random((random.integers(8, 33), 4)):
            r2 = (
                sum(np.sin(np.pi * d) ** 2 for d in (x - cx, y - cy)) / np.pi**2
            )  # periodic, as (distance)² nearby
            b += (0.5 + 0.5 * height) * np.exp(-r2 / (2 * (0.02 + 0.02 * width) ** 2))
        feed, kill = FEED_KILL[random.integers(len(FEED_KILL))]
        b = np.tanh(b)
        return {"a": 1 - b / 2, "b": b, "feed": feed, "kill": kill}

    def stepper(
        self,
        points: tuple[int, ...],
        statics: dict[str, Tensor],
        *,
        refine: int = 1,
        device: str = "cpu",
    ) -> Step:
        """See `Evolution`."""
        k2 = sum(k**2 for k in wavenumbers(points, self.lengths, device=device))
        keep = two_thirds(points, device=device)
        feed, kill = (statics[name][:, None, None] for name in ("feed", "kill"))
        linear = torch.stack([-2e-5 * k2 - feed, -1e-5 * k2 - feed - kill], dim=1)
        steps = STEPS * refine
        supply = torch.zeros_like(linear)
        supply[:, 0, 0, 0] = statics["feed"] * points[0] * points[1]

        def react(v: Tensor) -> Tensor:
            a, b = torch.fft.irfft2(v * keep, s=points).unbind(1)
            rate = keep * torch.fft.rfft2(a * b**2)
            return torch.stack([-rate, rate], dim=1) + supply

        return fields_flow(ETDRK4(linear, react, dt=self.interval / steps), points, steps=steps)

    def symmetries(self) -> list[dict]:
        """See `Problem`."""
        return torus("xy")
