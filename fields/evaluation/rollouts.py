"""What a model makes of the test trajectories, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from rich.progress import track
from torch import Tensor

from fields.core.distributed import all_gather, rank_and_size
from fields.core.sample import Sample, Schema
from fields.metrics.base import to_grid
from fields.metrics.losses import channel_relative_l2, relative_l2, trajectory_relative_l2
from fields.metrics.rollout import BlowUps, Correlation, correlation_time
from fields.metrics.the_well import VRMSE, SpectralError
from fields.models.base import Operator

ZERO_TOLERANCE = 1e-6  # of the field's root mean square: what single precision leaves of a zero

Quantity = Callable[
    ..., Tensor
]  # states (… o *grid) and each input that is no state (… *grid) -> one value each (…)


@dataclass(frozen=True)
class Rollouts:
    """Errors of one model on n test trajectories at s times, none of them given to it.

    Args:
        error: ‖v̂ − v‖/‖v‖ at each step, over points and channels.
        nrmse: the same, mean over channels of each channel's own.
        whole: ‖v̂ − v‖/‖v‖ of the whole trajectory, over steps, points and channels.
        vrmse: √(mean e² / var v), mean over samples and channels.
        correlation: of v̂ and v over space, mean over samples and channels.
        spectrum: error energy over the truth's in the lowest, middle and highest wavenumbers; None
            off grids.
        quantities: per invariant or Lyapunov function Q, Q(v̂)/Q₀ and Q(v)/Q₀, with Q₀ the root
            mean square of the truth's first values; of the field itself where they vanish (a
            circulation that is zero).
        blown: trajectories that are not finite or exceed ten times the largest value of the truth.
        seconds: wall time of all rollouts.
    """

    model: str
    parameters: int
    times: Float[np.ndarray, "s"]
    error: Float[np.ndarray, "n s"]
    nrmse: Float[np.ndarray, "n s"]
    whole: Float[np.ndarray, "n"]
    vrmse: Float[np.ndarray, "s"]
    correlation: Float[np.ndarray, "s"]
    spectrum: Float[np.ndarray, "3 s"] | None
    quantities: dict[str, tuple[Float[np.ndarray, "n s"], Float[np.ndarray, "n s"]]]
    blown: int
    seconds: float

    def at(self, step: int) -> Float[np.ndarray, "n"]:
        """Error of every trajectory at one step, counted from 1."""
        return self.error[:, step - 1]

    def correlated(self, threshold: float = 0.8) -> float:
        """Time until which prediction and truth correlate."""
        return float(
            correlation_time(
                torch.from_numpy(self.correlation), torch.from_numpy(self.times), threshold
            )
        )

    def drift(self, name: str) -> Float[np.ndarray, "s"]:
        """mean_n |Q(v̂(t)) − Q(v(t))| / Q₀: how far a quantity is from the truth's."""
        ours, true = self.quantities[name]
        return np.abs(ours - true).mean(0)


@torch.no_grad()
def measure_rollouts(
    name: str,
    model: Operator,
    batches: list[Sample],
    *,
    quantities: Mapping[str, Quantity] | None = None,
    memory: float = 1e9,
    quiet: bool = False,
) -> Rollouts:
    """Rolls a model out over batches of whole trajectories; several processes have each a part of them, and the whole result.

    Args:
        name: for tables and pictures.
        model: of an evolution problem.
        batches: each with the frames given and all that follow.
        quantities: invariants and Lyapunov functions of the problem, by name (grids alone).
        memory: bytes that one pass may take.
        quiet: no progress bar.
    """
    model.eval()
    steps, channels = batches[0].v.shape[1], batches[0].v.shape[-1]
    grid = model.schema.grid
    grid = grid if grid is not None and int(np.prod(grid)) == batches[0].y.shape[1] else None
    shape = {"steps": steps, "channels": channels}
    vrmse, correlation, blown = VRMSE(**shape), Correlation(**shape), BlowUps()
    spectrum = SpectralError(grid, relative=True, **shape) if grid is not None else None
    errors, nrmse, whole = [], [], []
    asked = quantities if quantities is not None and grid is not None else {}
    watched: dict[str, tuple[list[Tensor], list[Tensor]]] = {key: ([], []) for key in asked}
    start = time.perf_counter()
    for batch in track(
        batches, f"rolling out {name}", transient=True, disable=quiet or rank_and_size()[0] > 0
    ):
        v_hat, v = model.evaluate(batch, memory).double(), batch.v.double()
        errors.append(_per_step(relative_l2, v_hat, v, batch))
        nrmse.append(_per_step(channel_relative_l2, v_hat, v, batch))
        whole.append(trajectory_relative_l2(v_hat, v, batch.y_mask))
        for metric in (vrmse, correlation, blown, *([spectrum] if spectrum is not None else [])):
            metric.update(v_hat, v, batch.y_mask)
        for key, quantity in asked.items():
            medium = _medium(batch, model.schema)
            for values, column in zip((v_hat, v), watched[key], strict=True):
                column.append(
                    quantity(
                        to_grid(values, batch.y_mask, model.schema.grid or ()).movedim(-1, 2),
                        *medium,
                    )
                )
    size = float(
        torch.cat([batch.v[:, :1].double().square().flatten() for batch in batches])
        .nanmean()
        .sqrt()
    )
    return Rollouts(
        model=name,
        parameters=sum(p.numel() for p in model.parameters()),
        times=batches[0].t[0].double().numpy(),
        error=all_gather(torch.cat(errors)).numpy(),
        nrmse=all_gather(torch.cat(nrmse)).numpy(),
        whole=all_gather(torch.cat(whole)).numpy(),
        vrmse=vrmse.compute().mean(-1).numpy(),
        correlation=correlation.compute().mean(-1).numpy(),
        spectrum=None if spectrum is None else spectrum.compute().mean(-1).numpy(),
        quantities={key: _relative(*columns, size=size) for key, columns in watched.items()},
        blown=int(blown.compute()),
        seconds=time.perf_counter() - start,
    )


def report_steps(trained: int, steps: int) -> list[int]:
    """Steps that tables show: the trained horizon and multiples of it, as far as the trajectories go, give or take 1 %."""
    chosen = [
        min(trained * factor, steps)
        for factor in (1, 2, 4, 10, 40, 100)
        if 0.99 * trained * factor <= steps
    ]
    return chosen or [steps]


def _medium(batch: Sample, schema: Schema) -> list[Float[Tensor, "b 1 *grid"]]:
    """The input fields that are no states, in the order of the schema."""
    first = len(schema.inputs) * (schema.history - 1)
    columns = [first + c for c, name in enumerate(schema.inputs) if name not in schema.outputs]
    return list(
        to_grid(batch.u[:, None, :, columns].double(), batch.x_mask, schema.grid or ()).unbind(-1)
    )


def _per_step(
    error: Callable[[Tensor, Tensor, Tensor], Tensor], v_hat: Tensor, v: Tensor, batch: Sample
) -> Tensor:
    return torch.stack(
        [error(v_hat[:, s : s + 1], v[:, s : s + 1], batch.y_mask) for s in range(v.shape[1])],
        dim=1,
    )


def _relative(
    ours: list[Tensor], true: list[Tensor], *, size: float
) -> tuple[np.ndarray, np.ndarray]:
    prediction, truth = all_gather(torch.cat(ours)), all_gather(torch.cat(true))
    scale = truth[:, 0].square().mean().sqrt()
    scale = scale if scale > ZERO_TOLERANCE * size else torch.as_tensor(size)
    return (prediction / scale).numpy(), (truth / scale).numpy()
