"""Adaptive Runge–Kutta steps, for evaluation at a given accuracy."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torchdiffeq import odeint

from fields.dynamics.base import Context, VectorField
from fields.integrators.base import Integrator


class Accuracy(NamedTuple):
    """The cost of an adaptive solution, and the error of each sample over its tolerance (≤ 1).

    Args:
        evaluations: calls of the field so far.
        error: the largest estimated error of an accepted step, divided by the tolerance.

    Example:
        >>> Accuracy(evaluations=7, error=torch.zeros(2)).error.shape
        torch.Size([2])
    """

    evaluations: int
    error: Float[Tensor, "b"]


class DormandPrince(Integrator):
    """The adaptive Runge–Kutta pair 5(4), by torchdiffeq.

    The step size follows from the worst sample of the batch, so the accuracy of a sample does not
    depend on the others. Preserves no invariant.

    Args:
        rtol: relative tolerance. A step is accepted if the estimated error of each sample, as a
            root mean square, is below atol + rtol |z|.
        atol: absolute tolerance.

    Reference: Dormand & Prince, J. Comput. Appl. Math. 6 (1980).

    Example:
        >>> class Decay(VectorField):
        ...     def forward(self, t, z, context=Context()):
        ...         return -z
        >>> z, method = torch.ones(2, 1, 1), DormandPrince(rtol=1e-3)
        >>> carry = method.init(Decay(), z, Context())
        >>> x, accuracy = method.step(Decay(), 0.0, 1.0, z, Context(), carry)
        >>> x.shape, bool((accuracy.error <= 1).all())
        (torch.Size([2, 1, 1]), True)
    """

    order = 5

    def __init__(self, *, rtol: float = 1e-5, atol: float = 1e-7):
        super().__init__()
        self.rtol = rtol
        self.atol = atol

    def init(self, field: VectorField, z: Tensor, context: Context) -> Accuracy:
        """No evaluations, no error."""
        return Accuracy(0, z.new_zeros(z.shape[0]))

    def step(
        self,
        field: VectorField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Accuracy,
    ) -> tuple[Tensor, Accuracy]:
        """The state at t + dt, in as many steps as the tolerance requires (order 5).

        Shape: (b k s) -> (b k s).
        """
        errors: list[Tensor] = []
        calls = 0

        def velocity(t: Tensor, z: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return field(t, z, context)

        def worst_error(scaled: Tensor) -> Tensor:
            error = scaled.square().mean((-2, -1)).sqrt()
            errors.append(error.detach())
            return error.amax()

        start = torch.as_tensor(t, dtype=z.dtype, device=z.device)
        dt = torch.as_tensor(dt, dtype=z.dtype, device=z.device)
        states = odeint(
            velocity,
            z,
            torch.stack([start, start + dt]),
            rtol=self.rtol,
            atol=self.atol,
            method="dopri5",
            options={"norm": worst_error, "first_step": dt.detach().abs()},
        )
        accepted = [error for error in errors if bool(error.amax() <= 1)]
        error = torch.stack([carry.error, *accepted]).amax(0)
        return cast(Tensor, states)[-1], Accuracy(carry.evaluations + calls, error)
