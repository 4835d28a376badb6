"""Darcy flow through a two-phase medium: from the permeability to the pressure."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import xarray as xr

from .base import Problem, axis, field
from .solvers import darcy

MODES = 421  # cosines per axis of the random field, as in the published generator


class Darcy(Problem):
    r"""The map a -> u of

        −∇·(a ∇u) = 1 on (0, 1)²,  u = 0 on the edge,  a = 12 where g ≥ 0 and 3 where g < 0,
        g ~ N(0, (−Δ + 9)⁻²) with zero Neumann conditions and without its constant mode

    Solved by five-point differences with arithmetic face averages of a on a grid of (at least) 421²
    nodes, edge nodes included; every fifth node gives the usual 85². a is evaluated at the nodes
    themselves, and stored there. (The published generator thresholds g at cell centers, carries a
    to the nodes by splines, which overshoot at its jumps, and carries u back.) `residual` is what
    the solver left, relative to the right-hand side.

    Reference: Li et al., Fourier neural operator for parametric PDEs, ICLR 2021, Section 5.2.

    Args:
        nodes: least number of nodes per axis of the solver; taken up to the next multiple that the
            stored grid divides.
    """

    name: ClassVar[str] = "darcy"
    samples: ClassVar[int] = 1300
    shares: ClassVar[tuple[float, float, float]] = (10 / 13, 1 / 13, 2 / 13)
    resolution: ClassVar[int] = 85
    batch: ClassVar[int] = 4
    published: ClassVar[dict[str, str]] = {
        "FNO, 85², 1000/200": "rel. L2 0.0108: Li et al. 2021, as quoted by Transolver",
        "Transolver, 85², 1000/200": "rel. L2 0.0057: Wu et al., ICML 2024",
        "LaMO, 85², 1000/200": "rel. L2 0.0039: README of M3RG-IITD/LaMO",
    }

    def __init__(self, *, nodes: int = 421):
        if nodes < 3:
            raise ValueError(
                f"`nodes` is {nodes}: the square needs at least 3 per axis to have one inside."
            )
        self.nodes = nodes

    def grid(self, resolution: int) -> int:
        """Nodes per axis of the solver: the least (resolution − 1) · stride + 1 ≥ `nodes`."""
        if resolution < 3:
            raise ValueError(
                f"`resolution` is {resolution}: the square needs at least 3 nodes per axis."
            )
        return (resolution - 1) * max(1, -(-(self.nodes - 1) // (resolution - 1))) + 1

    def coefficient(self, index: int, *, seed: int, nodes: int) -> np.ndarray:
        """a at nodes² points; the same function for every number of nodes."""
        k = np.arange(MODES)
        deviation = 3 / (np.pi**2 * (k[:, None] ** 2 + k**2) + 9)
        deviation[0, 0] = 0
        cosines = np.cos(np.pi * np.outer(np.linspace(0, 1, nodes), k)) * np.where(
            k > 0, np.sqrt(2), 1
        )
        g = (
            cosines
            @ (deviation * self.random(seed, index).standard_normal((MODES, MODES)))
            @ cosines.T
        )
        return np.where(g >= 0, 12.0, 3.0)

    def symmetries(self) -> list[dict]:
        """See `Problem`."""
        return [{"flip": ["x"]}, {"flip": ["y"]}, {"permute": ["y", "x"]}]

    def solve(
        self, indices: range, *, resolution: int, seed: int, device: str = "cpu"
    ) -> xr.Dataset:
        """Variables `a` and `u` over (sample, x, y); the solver always runs on the CPU."""
        nodes = self.grid(resolution)
        stride = (nodes - 1) // (resolution - 1)
        a = [self.coefficient(index, seed=seed, nodes=nodes) for index in indices]
        solved = [darcy.solve(one, np.ones_like(one)) for one in a]
        stored = {"a": a, "u": [u for u, _ in solved]}
        a, u = (
            torch.from_numpy(np.stack(values)[:, ::stride, ::stride]) for values in stored.values()
        )
        edge = np.linspace(0, 1, resolution)
        return xr.Dataset(
            {
                "a": field(a, "x", "y", role="input", long_name="permeability"),
                "u": field(u, "x", "y", role="output", long_name="pressure"),
            },
            coords={
                "x": axis("x", edge, bounds=(0, 1)),
                "y": axis("y", edge, bounds=(0, 1)),
                "residual": xr.Variable(
                    "sample", [r for _, r in solved], {"long_name": "relative residual"}
                ),
            },
        )
