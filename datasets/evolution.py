"""Evolution problems of the catalogue: periodic box, equal intervals, quantities with a law."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from .base import Problem, circle, field

Step = Callable[[Tensor], Tensor]  # states (b c *x) one interval later
Quantity = Callable[
    ..., Tensor
]  # states (… c *x), channels as in `states`, and each of `statics` (… *x), to one value each (…)


class Evolution(Problem):
    """A PDE in time on a periodic box.

    Training and test trajectories go to two files, because test trajectories are longer.

    Class attributes besides those of `Problem`: `states` (name to long name, in channel order);
    `statics`, long names of further input fields; `interval` between frames; `points` per axis of
    the solver, at least; `default_frames` of a training and of a test trajectory, the initial one
    included; `test_samples`.

    Args:
        part: `train` makes training and validation trajectories, `test` the longer test ones from
            other random streams.
        frames: per trajectory, the initial one included; default as the class says.
    """

    states: ClassVar[dict[str, str]]
    statics: ClassVar[dict[str, str]] = {}
    interval: ClassVar[float]
    points: int
    lengths: tuple[float, ...]
    default_frames: ClassVar[tuple[int, int]] = (20, 200)
    test_samples: ClassVar[int] = 100
    shares: ClassVar[tuple[float, float, float]] = (10 / 11, 1 / 11, 0)

    def __init__(self, *, part: Literal["train", "test"] = "train", frames: int | None = None):
        self.part = part
        self.frames = self.default_frames[part == "test"] if frames is None else frames
        if self.frames < 2:
            raise ValueError(
                f"`frames` is {frames}: a trajectory has at least 2, the initial state included."
            )

    @abstractmethod
    def initial(
        self, random: np.random.Generator, points: tuple[int, ...]
    ) -> dict[str, np.ndarray | float]:
        """The initial states on any grid, and what else differs: input fields, parameters."""

    @abstractmethod
    def stepper(
        self,
        points: tuple[int, ...],
        statics: dict[str, Tensor],
        *,
        refine: int = 1,
        device: str = "cpu",
    ) -> Step:
        """The map that advances states by one interval.

        Args:
            points: per axis of the solver's grid.
            statics: the other values of `initial`, (b *x) or (b).
            refine: divides the time step.
            device: cpu or cuda.
        """

    def conserved(self) -> dict[str, Quantity]:
        """Invariants of the PDE, by name."""
        return {}

    def dissipated(self) -> dict[str, Quantity]:
        """Lyapunov functions: quantities that never grow along a solution, by name."""
        return {}

    def usual_samples(self) -> int:
        """See `Problem`."""
        return self.test_samples if self.part == "test" else self.samples

    def split(self, samples: int) -> np.ndarray:
        """See `Problem`; the test file is all test."""
        return np.full(samples, 2, dtype=np.int8) if self.part == "test" else super().split(samples)

    def random(self, seed: int, index: int) -> np.random.Generator:
        """See `Problem`; training and test samples have streams of their own."""
        return np.random.default_rng([seed, index, int(self.part == "test")])

    def start(
        self, indices: range, points: tuple[int, ...], *, seed: int, device: str = "cpu"
    ) -> tuple[Float[Tensor, "b c *x"], dict[str, Tensor]]:
        """The states of the first frame, and what else differs between these samples."""
        drawn = [self.initial(self.random(seed, index), points) for index in indices]
        values = {
            name: torch.tensor(np.stack([d[name] for d in drawn]), device=device)
            for name in drawn[0]
        }
        return torch.stack([values.pop(name) for name in self.states], dim=1), values

    def solve(
        self, indices: range, *, resolution: int, seed: int, device: str = "cpu"
    ) -> xr.Dataset:
        """Variables over (sample, time, *axes), stored on a stride of the solver's grid."""
        stride = -(-self.points // resolution)
        points = (stride * resolution,) * len(self.lengths)
        axes = "xyz"[: len(points)]
        state, values = self.start(indices, points, seed=seed, device=device)
        coarse = (..., *[slice(None, None, stride)] * len(points))
        step = self.stepper(points, values, device=device)
        frames = [state[coarse].cpu()]
        while len(frames) < self.frames:
            state = step(state)
            frames.append(state[coarse].cpu())
        stored = torch.stack(frames, dim=1)  # (sample time channel *axes)
        data = {
            name: field(stored[:, :, c], "time", *axes, role="state", long_name=long)
            for c, (name, long) in enumerate(self.states.items())
        }
        for name, value in values.items():
            if value.ndim == 1:
                data[name] = xr.Variable(
                    "sample", value.cpu().numpy(), {"role": "parameter", "units": "1"}
                )
            else:
                data[name] = field(value[coarse], *axes, role="input", long_name=self.statics[name])
        times = xr.Variable("time", np.arange(self.frames) * self.interval, {"units": "1"})
        coords = {
            a: circle(a, resolution, length) for a, length in zip(axes, self.lengths, strict=True)
        }
        return xr.Dataset(data, coords={"time": times, **coords})


def random_field(
    random: np.random.Generator,
    points: tuple[int, ...],
    *,
    modes: int,
    deviation: Callable[[np.ndarray], np.ndarray],
) -> Float[np.ndarray, "*x"]:
    r"""A periodic Gaussian field, the same function on every grid:

        Σ_{0 < max|j| ≤ modes} σ(|j|) (ξ_j cos 2πj·x + η_j sin 2πj·x),  ξ, η ~ N(0, 1)

    x in box units. σ² are the eigenvalues of its covariance operator; the mean is 0.
    """
    if min(points) <= 2 * modes:
        raise ValueError(
            f"{points} points cannot hold {modes} modes per axis: take more than {2 * modes}."
        )
    dim = len(points)
    j = np.meshgrid(*[np.arange(-modes, modes + 1)] * dim, indexing="ij")
    size = np.sqrt(np.sum(np.square(j), axis=0))
    sigma = np.where(size > 0, deviation(np.where(size > 0, size, 1)), 0)
    noise = random.standard_normal((2, *size.shape))
    coefficients = np.zeros(points, dtype=complex)
    coefficients[tuple(np.stack(j))] = sigma * (noise[0] - 1j * noise[1])
    return np.fft.ifftn(coefficients).real * coefficients.size


def torus(axes: str, *, negate: tuple[str, ...] = ()) -> list[dict]:
    """Symmetries of an isotropic PDE: shifts, flips, swaps of axes, change of sign of `negate`."""
    out: list[dict] = [{"shift": list(axes)}, *({"flip": [a]} for a in axes)]
    if len(axes) > 1:
        out.append({"permute": [axes[1], axes[0], *axes[2:]]})
    return [*out, {"negate": list(negate)}] if negate else out
