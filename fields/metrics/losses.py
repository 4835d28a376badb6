"""Relative L2 errors of fields in physical units: what training minimizes and what tables report.

All take v_hat, v (b s m o) and a mask (#b m) that is True at real points, and return one value per
sample (b), :func:`output_relative_l2` one per sample, step and channel (b s o). Norms are plain
sums over the given points, without quadrature weights. Where the truth is zero everywhere the
absolute error ‖v̂‖ is used instead, so that a frame of zeros gives neither an infinite loss nor NaN.

Values are divided by a power of two before they are squared, which is exact: neither squares
overflow nor do they underflow, as float32 numbers beyond 1e19 and below 1e-19 would.
:class:`VariableError` is what training minimizes, the others are what tables show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

# A variable that is smaller than this share of its standard deviation in a frame is measured
# against that, where it is one of several: its own size may be a rounding error.
LEAST_SIZE = 0.1


def relative_l2(
    v_hat: Float[Tensor, "b s m o"], v: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"]
) -> Float[Tensor, "b"]:
    """mean_s ‖v̂_s − v_s‖ / ‖v_s‖, each norm over points and channels together.

    For s = 1 this is the usual relative L2 of operator learning. The channel with the largest
    values dominates; use :func:`channel_relative_l2` for channels of different units.

    Example:
        >>> v = torch.ones(2, 3, 8, 1)
        >>> relative_l2(1.5 * v, v, torch.ones(1, 8) > 0)
        tensor([0.5000, 0.5000])
    """
    return _ratio(v_hat, v, mask, over=(2, 3)).mean(dim=1)


def trajectory_relative_l2(
    v_hat: Float[Tensor, "b s m o"], v: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"]
) -> Float[Tensor, "b"]:
    """mean_o ‖v̂_o − v_o‖ / ‖v_o‖, each norm over time steps and points together.

    Every channel has the same weight, whatever its unit. For the same prediction of a field that
    decays, this and :func:`channel_relative_l2` can differ by a factor of 5: state which one is
    reported.

    Example:
        >>> v = torch.ones(2, 3, 8, 1)
        >>> trajectory_relative_l2(1.5 * v, v, torch.ones(1, 8) > 0)
        tensor([0.5000, 0.5000])
    """
    return _ratio(v_hat, v, mask, over=(1, 2)).mean(dim=1)


def channel_relative_l2(
    v_hat: Float[Tensor, "b s m o"], v: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"]
) -> Float[Tensor, "b"]:
    """mean_{s,o} ‖v̂_so − v_so‖ / ‖v_so‖, each norm over points only.

    Every channel has the same weight, whatever its unit.

    Example:
        >>> v = torch.ones(2, 3, 8, 1)
        >>> channel_relative_l2(1.5 * v, v, torch.ones(1, 8) > 0)
        tensor([0.5000, 0.5000])
    """
    return output_relative_l2(v_hat, v, mask).mean(dim=(1, 2))


def output_relative_l2(
    v_hat: Float[Tensor, "b s m o"], v: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"]
) -> Float[Tensor, "b s o"]:
    """‖v̂_so − v_so‖ / ‖v_so‖ of every step s and channel o, each norm over points only.

    It does not depend on the units of the channels.

    Example:
        >>> v = torch.ones(2, 3, 8, 2)
        >>> scale = torch.tensor([1.5, 1.0])
        >>> output_relative_l2(scale * v, v, torch.ones(1, 8) > 0)[0, 0]
        tensor([0.5000, 0.0000])
    """
    return _ratio(v_hat, v, mask, over=(2,))


class VariableError(nn.Module):
    r"""The error that training minimizes: relative L2 of each variable, averaged over variables.

        mean_s Σ_o w_o ‖v̂_so − v_so‖ / max(‖v_so‖, 0.1 σ_o √m),    w_o = λ_o r_o / Σ λ

    σ_o is the standard deviation of the variable and r_o = √(μ_o² + σ_o²)/σ_o the ratio of its root
    mean square to it, divided by the least of all variables: a temperature of 300 ± 1 K would
    otherwise hardly count beside a velocity, because any prediction near 300 K has a small relative
    error. Other units, u ↦ c u, of any variable change neither the error nor its gradient with
    respect to the weights of a model, except by rounding.

    For a single variable this is ‖v̂ − v‖ / ‖v‖, and ‖v̂‖ / σ where v = 0.

    Args:
        names: of the variables, in the order of the channels.
        statistics: (mean, standard deviation, ...) of each variable.
        weights: λ, by name; 1 for the others.

    Raises:
        ValueError: a weight of an unknown variable, or weights that are not positive or zero.

    Example:
        >>> error = VariableError(["u", "p"], {"u": (0.0, 1.0), "p": (0.0, 1e5)}, {"p": 3.0})
        >>> v = torch.ones(2, 1, 8, 2) * torch.tensor([1.0, 1e5])
        >>> error(torch.tensor([1.1, 1.0]) * v, v, torch.ones(1, 8) > 0)
        tensor([0.0250, 0.0250])
    """

    weights: Tensor
    std: Tensor

    def __init__(
        self,
        names: Sequence[str],
        statistics: Mapping[str, Sequence[Any]],
        weights: Mapping[str, float] | None = None,
    ):
        super().__init__()
        chosen = dict.fromkeys(names, 1.0) | dict(weights or {})
        unknown = [name for name in chosen if name not in names]
        if unknown:
            raise ValueError(
                f"`model.weights` names {unknown[0]!r}, but the outputs are {', '.join(names)}. "
                "Weights belong to outputs."
            )
        total = math.fsum(chosen.values())
        if not (0 < total < math.inf and min(chosen.values()) >= 0):
            raise ValueError(
                f"`model.weights` gives {chosen}, but weights must be finite and not negative, and "
                "one of them positive."
            )
        moments = [(float(statistics[name][0]), float(statistics[name][1])) for name in names]
        ratios = [math.hypot(mean / std, 1.0) if std > 0 else 1.0 for mean, std in moments]
        rows = [chosen[n] / total * (r / min(ratios)) for n, r in zip(names, ratios, strict=True)]
        stds = [std if std > 0 else 1.0 for _, std in moments]
        # Not among the weights of the task: its checkpoints stay as they are.
        self.register_buffer("weights", torch.tensor(rows), persistent=False)
        self.register_buffer("std", torch.tensor(stds), persistent=False)

    def forward(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> Float[Tensor, "b"]:
        """Mean over steps of the weighted sum over variables."""
        ratio = _ratio(v_hat, v, mask, over=(2,), least=self._least(mask), zero=self.std)
        return (ratio * self.weights).sum(dim=2).mean(dim=1)

    def changes(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> Float[Tensor, "b"]:
        """mean_s Σ_o w_o ‖Δv̂ − Δv‖ / (‖Δv‖ + ‖v‖/100), with the change Δ from step to step.

        ‖v‖/100 bounds the weight of fields at rest.
        """
        real = rearrange(mask, "b m -> b 1 m 1")
        error = _norm(torch.where(real, v_hat.diff(dim=1) - v.diff(dim=1), 0.0), (2,))
        size = _norm(torch.where(real, v[:, 1:], 0.0), (2,))
        size = torch.maximum(size, self._least(mask))
        change = _norm(torch.where(real, v.diff(dim=1), 0.0), (2,))
        scale = change + torch.where(size > 0, size, self.std) / 100
        return (error / scale * self.weights).sum(dim=2).mean(dim=1)

    def _least(self, mask: Bool[Tensor, "#b m"]) -> Float[Tensor, "#b 1 o"]:
        """The least size of a variable: none if there is only one."""
        if len(self.std) == 1:
            return self.std.new_zeros(1, 1, 1)
        points = mask.sum(dim=1, dtype=self.std.dtype)[:, None, None]
        return LEAST_SIZE * points.sqrt() * self.std


def _ratio(
    v_hat: Tensor,
    v: Tensor,
    mask: Tensor,
    over: tuple[int, ...],
    *,
    least: Tensor | float = 0.0,
    zero: Tensor | float = 1.0,
) -> Tensor:
    """‖v̂ − v‖ / max(‖v‖, least), and ‖v̂‖ / zero where that maximum is 0."""
    if v_hat.shape != v.shape:
        raise ValueError(
            f"The prediction has shape {tuple(v_hat.shape)} and the truth {tuple(v.shape)}. "
            "Both must be (b s m o), with the same times and points."
        )
    real = rearrange(mask, "b m -> b 1 m 1")
    # `where`, not a product: predictions at padded points may be anything, NaN included.
    error = torch.where(real, v_hat - v, 0.0)
    size = _norm(torch.where(real, v, 0.0), over)
    size = torch.maximum(size, torch.as_tensor(least, dtype=size.dtype, device=size.device))
    return _norm(error, over) / torch.where(size > 0, size, zero)


def _norm(values: Tensor, over: tuple[int, ...]) -> Tensor:
    """√Σ values², for numbers of any size: the largest is brought to order one before squaring."""
    largest = values.detach().abs().amax(dim=over, keepdim=True)
    _, exponent = torch.frexp(torch.where(largest.isfinite(), largest, 1.0))
    limit = math.frexp(torch.finfo(values.dtype).max)[1] - 2
    unit = torch.ldexp(torch.ones_like(largest), exponent.clamp(-limit, limit))
    size = torch.linalg.vector_norm(values / unit, dim=over, keepdim=True) * unit
    return size.flatten(over[0], over[-1]).squeeze(over[0])
