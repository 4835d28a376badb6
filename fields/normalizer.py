"""The border between physical units and the model's own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.sample import Schema


class Normalizer(nn.Module):
    r"""Affine maps between physical and normalised values, kept as buffers of the model.

        x ↦ (x − centre)/(high − low),    u ↦ (u − mean)/std,    v̂ ↦ mean + std·v̂

    Points go to [−1/2, 1/2] by the domain's bounds (a period becomes 1); values by statistics of the training split, computed
    in float64. A channel that never varies keeps std = 1.

    Args:
        schema: names and geometry.
        statistics: per variable name, (mean, standard deviation) in physical units.
    """

    centre: Tensor
    extent: Tensor
    inputs_mean: Tensor
    inputs_std: Tensor
    outputs_mean: Tensor
    outputs_std: Tensor
    params_mean: Tensor
    params_std: Tensor

    def __init__(self, schema: Schema, statistics: Mapping[str, tuple[float, float]]):
        super().__init__()
        if schema.weight is not None:  # weights are used as they are: a mean taken away would change them
            statistics = {**statistics, schema.weight: (0.0, 1.0)}
        low, high = torch.tensor(schema.bounds, dtype=torch.float64).T
        self.register_buffer("centre", ((low + high) / 2).float())
        self.register_buffer("extent", (high - low).float())
        for role, names in (
            ("inputs", schema.inputs * schema.history),
            ("outputs", schema.outputs),
            ("params", schema.params),
        ):
            missing = [name for name in names if name not in statistics]
            if missing:
                raise KeyError(f"No statistics for {missing}; got them for {sorted(statistics)}.")
            mean = torch.tensor([statistics[name][0] for name in names], dtype=torch.float64)
            std = torch.tensor([statistics[name][1] for name in names], dtype=torch.float64)
            self.register_buffer(f"{role}_mean", mean.float())
            self.register_buffer(f"{role}_std", torch.where(std > 0, std, 1.0).float())

    def points(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Physical coordinates -> unit coordinates."""
        return (x - self.centre) / self.extent

    def inputs(self, u: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Physical input values -> normalised."""
        return (u - self.inputs_mean) / self.inputs_std

    def params(self, p: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        """Physical constants -> normalised."""
        return (p - self.params_mean) / self.params_std

    def physical(self, v: Float[Tensor, "... o"]) -> Float[Tensor, "... o"]:
        """Normalised output values -> physical units."""
        return self.outputs_mean + self.outputs_std * v
