"""Steps of any accuracy asked for, for evaluation."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torchdiffeq import odeint

from fields.dynamics.base import Context, VectorField
from fields.integrators.base import Integrator


class Accuracy(NamedTuple):
    """What an adaptive solution cost and how well each sample met the tolerance."""

    evaluations: int
    error: Float[
        Tensor, "b"
    ]  # largest estimated error of an accepted step, over the tolerance: at most 1


class DormandPrince(Integrator):
    """The adaptive 5(4) pair of Dormand and Prince, by torchdiffeq. Order 5.

    The step is chosen for the worst sample of the batch, so no sample is solved less accurately for
    the company it is in.

    Args:
        rtol, atol: a step is accepted if the estimated error of each sample, as a root mean square,
            is below atol + rtol |z|.
    """

    order = 5

    def __init__(self, *, rtol: float = 1e-5, atol: float = 1e-7):
        super().__init__()
        self.rtol, self.atol = rtol, atol

    def init(self, field: VectorField, z: Tensor, context: Context) -> Accuracy:
        """Nothing spent, nothing missed."""
        return Accuracy(0, z.new_zeros(z.shape[0]))

    def step(self, field: VectorField, t, dt, z: Tensor, context: Context, carry: Accuracy):
        """From t to t + dt in as many steps as the tolerance needs."""
        errors: list[Tensor] = []
        calls = 0

        def velocity(t: Tensor, z: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return field(t, z, context)

        def worst(scaled: Tensor) -> Tensor:
            errors.append(scaled.detach().square().mean((-2, -1)).sqrt())
            return scaled.square().mean((-2, -1)).sqrt().amax()

        start, dt = (
            torch.as_tensor(t, dtype=z.dtype, device=z.device),
            torch.as_tensor(dt, dtype=z.dtype, device=z.device),
        )
        options = {"norm": worst, "first_step": dt.detach().abs()}
        times = torch.stack([start, start + dt])
        states = cast(
            Tensor,
            odeint(
                velocity, z, times, rtol=self.rtol, atol=self.atol, method="dopri5", options=options
            ),
        )
        accepted = [e for e in errors if bool(e.amax() <= 1)]
        error = torch.stack([carry.error, *accepted]).amax(0)
        return states[-1], Accuracy(carry.evaluations + calls, error)
