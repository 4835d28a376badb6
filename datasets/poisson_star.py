"""Poisson's equation on random star-shaped domains with round holes, on irregular points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from scipy.spatial import KDTree

from .base import Problem, field
from .solvers.fem import poisson, triangulate

MODES = 4  # of the outline and, per axis, of the source


class PoissonStar(Problem):
    r"""The map (Ω, f) -> u of

        −Δu = f in Ω,  u = 0 on ∂Ω,  Ω = {r < R(θ)} without 0 to 2 discs

    ln R has modes 1 … 4 with deviation 0.15/k, scaled so that max R = 1; the discs have radii 0.08
    … 0.2. f is Gaussian with modes |j| ≤ 4 on the box (−2, 2)², deviation ∝ exp(−(j/2)²/2), mean
    square 1, plus 1. Quadratic elements on an irregular mesh whose spacing is 2/resolution. Each
    sample has its own points, so their number varies; the inputs are f and the distance to the
    nearest point of the boundary, which is 0 on it. Rows are padded with NaN to one length.
    """

    name: ClassVar[str] = "poisson_star"
    samples: ClassVar[int] = 1200
    shares: ClassVar[tuple[float, float, float]] = (10 / 12, 1 / 12, 1 / 12)
    resolution: ClassVar[int] = 32
    batch: ClassVar[int] = 16

    def domain(self, random: np.random.Generator) -> tuple[Any, Any]:
        """Radius as a function of the angle, and disjoint discs to cut out, rows (x, y, radius)."""
        k = np.arange(1, MODES + 1)
        cosine, sine = 0.15 / k * random.standard_normal((2, MODES))
        angles = np.linspace(0, 2 * np.pi, 721)

        def log_radius(theta: np.ndarray) -> np.ndarray:
            return (
                np.cos(np.multiply.outer(theta, k)) @ cosine
                + np.sin(np.multiply.outer(theta, k)) @ sine
            )

        peak = log_radius(angles).max()
        outline = np.exp(log_radius(angles) - peak)[:, None] * np.stack(
            [np.cos(angles), np.sin(angles)], axis=1
        )
        discs: list[np.ndarray] = []
        wanted = random.integers(0, 3)
        for center_x, center_y, size in random.uniform(
            (-0.6, -0.6, 0.08), (0.6, 0.6, 0.2), (50, 3)
        ):
            center = np.array([center_x, center_y])
            free = np.linalg.norm(outline - center, axis=1).min() > size + 0.15
            inside = np.hypot(*center) < np.exp(log_radius(np.arctan2(center_y, center_x)) - peak)
            apart = all(np.linalg.norm(center - d[:2]) > size + d[2] + 0.15 for d in discs)
            if len(discs) < wanted and free and inside and apart:
                discs.append(np.array([center_x, center_y, size]))
        return (lambda theta: np.exp(log_radius(theta) - peak)), discs

    def mesh(self, random: np.random.Generator, *, spacing: float) -> tuple[Any, Any]:
        """A random domain, triangulated."""
        radius, discs = self.domain(random)

        def inside(p: np.ndarray) -> np.ndarray:
            star = np.hypot(*p.T) < radius(np.arctan2(p[:, 1], p[:, 0]))
            return np.logical_and.reduce(
                [star, *(np.linalg.norm(p - d[:2], axis=1) > d[2] for d in discs)]
            )

        theta = np.linspace(0, 2 * np.pi, 4001)
        outline = radius(theta)[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1)
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(outline, axis=0), axis=1))])
        theta = np.interp(
            np.linspace(0, length[-1], round(length[-1] / spacing) + 1)[:-1], length, theta
        )
        curves = [radius(theta)[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1)]
        for x, y, size in discs:
            turn = -2 * np.pi * np.arange(max(12, round(2 * np.pi * size / spacing)))
            turn = turn / len(turn)
            curves.append(np.stack([x + size * np.cos(turn), y + size * np.sin(turn)], axis=1))
        return triangulate(curves, inside, spacing=spacing, random=random), np.concatenate(curves)

    def source(self, random: np.random.Generator) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """f as a function of x and y."""
        jx, jy = (j.ravel() for j in np.meshgrid(*[np.arange(-MODES, MODES + 1)] * 2))
        deviation = np.exp(-(jx**2 + jy**2) / 8) * (jx**2 + jy**2 > 0)
        cosine, sine = deviation / np.linalg.norm(deviation) * random.standard_normal((2, len(jx)))

        def f(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            phase = np.pi / 2 * (np.multiply.outer(x, jx) + np.multiply.outer(y, jy))
            return 1 + np.cos(phase) @ cosine + np.sin(phase) @ sine

        return f

    def solve(
        self, indices: range, *, resolution: int, seed: int, device: str = "cpu"
    ) -> xr.Dataset:
        """Variables over (sample, point); the solver runs on the CPU whatever the device."""
        if resolution < 16:
            raise ValueError(
                f"`resolution` {resolution} does not resolve the holes. "
                "Take at least 16 points across."
            )
        capacity = int(
            resolution**2 + 8 * resolution
        )  # more than π/4 · 1.2 · resolution² inside and the boundary's
        rows = np.full((5, len(indices), capacity), np.nan)
        for row, index in enumerate(indices):
            random = self.random(seed, index)
            f = self.source(random)
            mesh, edge = self.mesh(random, spacing=2 / resolution)
            distance = KDTree(edge).query(mesh.p.T)[0]
            rows[:, row, : mesh.p.shape[1]] = *mesh.p, f(*mesh.p), distance, poisson(mesh, f)
        attrs = {"units": "1", "periodic": 0, "bounds": (-1.0, 1.0)}
        f, distance, u = (torch.from_numpy(values) for values in rows[2:])
        return xr.Dataset(
            {
                "f": field(f, "point", role="input", long_name="source"),
                "distance": field(
                    distance, "point", role="input", long_name="distance to the boundary's points"
                ),
                "u": field(u, "point", role="output", long_name="potential"),
            },
            coords={name: (("sample", "point"), rows[i], attrs) for i, name in enumerate("xy")},
        )

    def symmetries(self) -> list[dict]:
        """Mirror images, a quarter turn's swap, and the sign of the linear problem."""
        return [{"flip": ["x"]}, {"flip": ["y"]}, {"permute": ["y", "x"]}, {"negate": ["f", "u"]}]
