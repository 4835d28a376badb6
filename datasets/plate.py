"""An elastic plate with a random void, pulled at its top: where does it break?"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from scipy.spatial import KDTree

from .base import Problem, field
from .solvers.fem import plate, triangulate


class Plate(Problem):
    r"""The map Ω -> (u, v, σ) of plane-stress linear elasticity

        ∇·σ = 0 in Ω = (0, 1)² without a void,
        displacement 0 at y = 0,  σ n = (0, 1) at y = 1,  σ n = 0 elsewhere

    The void is |x − (½, ½)| < 0.2 + 0.2 / (1 + e^ρ(θ)), ρ ~ N(0, 16 (−Δ + 9)⁻¹) on the circle,
    modes 0 … 8. Young's modulus 1, Poisson's ratio 0.3, so displacements are in units of traction ×
    size / modulus and `stress`, von Mises' equivalent of σ, in units of the traction. Quadratic
    elements on an irregular mesh of spacing 1/resolution,
    half that on the void: about 1050 points at 34. The input is the distance to the nearest point
    of the void's edge. Rows are padded with NaN.

    Geometry after Li et al., Geo-FNO, JMLR 24 (2023); their material is a hyperelastic rubber, so
    errors compare with our own baselines only.
    """

    name: ClassVar[str] = "plate"
    samples: ClassVar[int] = 1300
    shares: ClassVar[tuple[float, float, float]] = (10 / 13, 1 / 13, 2 / 13)
    resolution: ClassVar[int] = 34
    batch: ClassVar[int] = 16

    def mesh(self, random: np.random.Generator, *, spacing: float) -> tuple[Any, Any]:
        """A random plate, triangulated, and the points on the void's edge."""
        k = np.arange(9)
        cosine, sine = (
            4 / np.sqrt(k**2 + 9) * np.where(k > 0, np.sqrt(2), 1) * random.standard_normal((2, 9))
        )

        def radius(theta: np.ndarray) -> np.ndarray:
            rho = (
                np.cos(np.multiply.outer(theta, k)) @ cosine
                + np.sin(np.multiply.outer(theta, k)) @ sine
            )
            return 0.2 + 0.2 / (1 + np.exp(np.clip(rho / np.sqrt(2 * np.pi), -50, 50)))

        def inside(p: np.ndarray) -> np.ndarray:
            q = p - 0.5
            return (np.abs(q).max(1) < 0.5) & (
                np.hypot(*q.T) > radius(np.arctan2(q[:, 1], q[:, 0]))
            )

        theta = -np.linspace(0, 2 * np.pi, 8001)
        edge = 0.5 + radius(theta)[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1)
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(edge, axis=0), axis=1))])
        theta = np.interp(
            np.linspace(0, length[-1], round(2 * length[-1] / spacing) + 1)[:-1], length, theta
        )
        void = 0.5 + radius(theta)[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1)
        side = np.linspace(0, 1, round(1 / spacing) + 1)[:-1]
        zero = np.zeros_like(side)
        square = np.concatenate(
            [
                np.stack(s, axis=1)
                for s in ((side, zero), (1 + zero, side), (1 - side, 1 + zero), (zero, 1 - side))
            ]
        )
        return triangulate([square, void], inside, spacing=spacing, random=random), void

    def solve(
        self, indices: range, *, resolution: int, seed: int, device: str = "cpu"
    ) -> xr.Dataset:
        """Variables over (sample, point); the solver runs on the CPU whatever the device."""
        if resolution < 16:
            raise ValueError(
                f"`resolution` {resolution} does not resolve the void. "
                "Take at least 16 points per side."
            )
        capacity = int(
            1.1 * resolution**2 + 8 * resolution
        )  # more than 1.16 · (1 − π 0.2²) inside and on the edges
        rows = np.full((6, len(indices), capacity), np.nan)
        for row, index in enumerate(indices):
            mesh, void = self.mesh(self.random(seed, index), spacing=1 / resolution)
            (u, v), (xx, yy, xy) = plate(mesh, young=1.0, ratio=0.3, traction=1.0)
            mises = np.sqrt(np.maximum(xx**2 - xx * yy + yy**2 + 3 * xy**2, 0))
            rows[:, row, : mesh.p.shape[1]] = *mesh.p, KDTree(void).query(mesh.p.T)[0], u, v, mises
        attrs = {"units": "1", "periodic": 0, "bounds": (0.0, 1.0)}
        distance, u, v, stress = (torch.from_numpy(values) for values in rows[2:])
        return xr.Dataset(
            {
                "distance": field(
                    distance, "point", role="input", long_name="distance to the void's edge"
                ),
                "u": field(u, "point", role="output", long_name="displacement along x"),
                "v": field(v, "point", role="output", long_name="displacement along y"),
                "stress": field(stress, "point", role="output", long_name="von Mises stress"),
            },
            coords={name: (("sample", "point"), rows[i], attrs) for i, name in enumerate("xy")},
        )

    def symmetries(self) -> list[dict]:
        """The mirror image from left to right."""
        return [{"flip": ["x"], "negate": ["u"]}]
