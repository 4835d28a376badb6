"""The border between physical units and the model's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Schema
from fields.data.scaling import AffineMap, Statistics

ROLES = ("inputs", "outputs", "params")


class Normalizer(nn.Module):
    r"""Maps between physical and normalized values, kept as buffers of the model.

        x ↦ (x − center)/(high − low),    u ↦ (ℓ(u) − mean)/std,    v̂ ↦ ℓ⁻¹(mean + std·v̂)

    Points go to [−1/2, 1/2] by the domain's bounds (a period becomes 1); values by statistics of
    the training split, computed in float64. Which map a variable has is said by its
    :class:`~fields.data.scaling.Scaling`: ℓ is the identity or the logarithm, mean and std may
    depend on a constant of the PDE. A channel that never varies keeps std = 1.

    The buffers ``*_mean`` and ``*_std`` are always there; ``*_floor`` (where ℓ = log), ``*_knots``,
    ``*_means``, ``*_stds`` and ``*_by`` (where a parameter decides) only if a channel needs them,
    so files of the standard map read as they always did.

    Args:
        schema: names and geometry.
        statistics: per variable name, its statistics in physical units; a plain (mean, standard
            deviation) will do.
    """

    center: Tensor
    extent: Tensor
    inputs_mean: Tensor
    inputs_std: Tensor
    outputs_mean: Tensor
    outputs_std: Tensor
    params_mean: Tensor
    params_std: Tensor

    def __init__(self, schema: Schema, statistics: Mapping[str, Statistics | tuple[float, float]]):
        super().__init__()
        if (
            schema.weight is not None
        ):  # weights are used as they are: a mean taken away would change them
            statistics = {**statistics, schema.weight: (0.0, 1.0)}
        low, high = torch.tensor(schema.bounds, dtype=torch.float64).T
        self.register_buffer("center", ((low + high) / 2).float())
        self.register_buffer("extent", (high - low).float())
        for role, names in zip(
            ROLES, (schema.inputs * schema.history, schema.outputs, schema.params), strict=True
        ):
            missing = [name for name in names if name not in statistics]
            if missing:
                raise KeyError(f"No statistics for {missing}; got them for {sorted(statistics)}.")
            self._keep(role, [_map(name, statistics[name]) for name in names], schema.params)

    def _keep(self, role: str, maps: Sequence[AffineMap], params: Sequence[str]) -> None:
        def row(values: Sequence[Any]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64).float()

        self.register_buffer(f"{role}_mean", row([m.mean for m in maps]))
        self.register_buffer(f"{role}_std", row([m.std for m in maps]))
        if any(m.floor for m in maps):
            self.register_buffer(f"{role}_floor", row([m.floor for m in maps]))
        if any(m.groups for m in maps):
            longest = max(2, *(len(m.groups) for m in maps))
            groups = [
                list(m.groups or ((0.0, m.mean, m.std),)) for m in maps
            ]  # a channel of its own: one value everywhere
            tables = row([rows + [rows[-1]] * (longest - len(rows)) for rows in groups])
            for i, name in enumerate(("knots", "means", "stds")):
                self.register_buffer(f"{role}_{name}", tables[..., i].contiguous())
            self.register_buffer(
                f"{role}_by", torch.tensor([params.index(m.by) if m.by else 0 for m in maps])
            )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Buffers that only some maps have are taken from the file."""
        for role in ROLES:
            for name in ("floor", "knots", "means", "stds", "by"):
                stored = state_dict.get(f"{prefix}{role}_{name}")
                if stored is not None:
                    self.register_buffer(
                        f"{role}_{name}", torch.empty_like(stored, device=self.center.device)
                    )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def points(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Physical coordinates -> unit coordinates."""
        return (x - self.center) / self.extent

    def inputs(
        self, u: Float[Tensor, "b n c"], params: Float[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "b n c"]:
        """Physical input values -> normalized; ``params`` are needed where a parameter decides the map."""
        return self._normalized("inputs", u, params)

    def params(self, p: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        """Physical constants -> normalized."""
        return self._normalized("params", p, None)

    def physical(
        self, v: Float[Tensor, "... o"], params: Float[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "... o"]:
        """Normalized output values -> physical units; inverse of :meth:`normalized`."""
        mean, std = self._affine("outputs", v, params)
        v = mean + std * v
        floor = getattr(self, "outputs_floor", None)
        return v if floor is None else torch.where(floor > 0, v.exp(), v)

    def normalized(
        self, v: Float[Tensor, "... o"], params: Float[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "... o"]:
        """Physical output values -> normalized: the targets of models that are solved for instead of trained."""
        return self._normalized("outputs", v, params)

    def _normalized(self, role: str, values: Tensor, params: Tensor | None) -> Tensor:
        floor = getattr(self, f"{role}_floor", None)
        if (
            floor is not None
        ):  # the inner `where` keeps the gradient finite in channels without logarithm
            values = torch.where(
                floor > 0, torch.where(floor > 0, values.clamp(min=floor), 1.0).log(), values
            )
        mean, std = self._affine(role, values, params)
        return (values - mean) / std

    def _affine(self, role: str, values: Tensor, params: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every channel; between known values of a parameter they are interpolated linearly."""
        knots = getattr(self, f"{role}_knots", None)
        if knots is None:
            return getattr(self, f"{role}_mean"), getattr(self, f"{role}_std")
        if params is None:
            raise ValueError(
                f"The scale of the {role} depends on a parameter of the PDE; pass `params` to the normalizer too."
            )
        p = rearrange(params[:, getattr(self, f"{role}_by")], "b c -> c b").contiguous()
        right = torch.searchsorted(knots, p).clamp(1, knots.shape[1] - 1)
        low, high = knots.gather(1, right - 1), knots.gather(1, right)
        weight = ((p - low) / (high - low).clamp(min=torch.finfo(p.dtype).tiny)).clamp(0, 1)
        means, stds = (
            torch.lerp(table.gather(1, right - 1), table.gather(1, right), weight).T
            for table in (getattr(self, f"{role}_means"), getattr(self, f"{role}_stds"))
        )
        shape = (params.shape[0], *[1] * (values.ndim - 2), values.shape[-1])
        return means.reshape(shape), stds.reshape(shape)


def _map(name: str, given: Statistics | tuple[float, float]) -> AffineMap:
    known = given if isinstance(given, Statistics) else Statistics(given[0], given[1])
    return known.scaling.fit(name, known)
