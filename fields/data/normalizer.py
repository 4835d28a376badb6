"""Maps between physical units and the normalized values that the networks compute with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.sample import Schema
from fields.data.missing import MissingPlaces
from fields.data.precision import needs_double
from fields.data.scaling import AffineMap, Statistics

ROLES = ("inputs", "outputs", "params")

# Buffers ``{role}_{name}`` that exist only if a channel of the role needs them.
OPTIONAL_BUFFERS = ("floor", "knots", "means", "stds", "by")


class Normalizer(nn.Module):
    r"""Maps between physical and normalized values, stored as buffers of the model.

        x ↦ (x − center)/(high − low),    u ↦ (ℓ(u) − mean)/std,    v̂ ↦ ℓ⁻¹(mean + std·v̂)

    Points go to [−1/2, 1/2] by the bounds of the domain (a period becomes 1); values by the
    statistics of the training samples. The :class:`~fields.data.scaling.Scaling` of a variable
    decides its map: ℓ is the identity or the logarithm, and mean and std may depend on a parameter
    of the PDE. A channel that never varies has std = 1; quadrature weights are left as they are.

    Where single precision would lose digits (see `fields.data.precision`), the values and the
    statistics are in double precision until the mean is removed, and predictions are double.

    ``missing`` holds where the training data had no values, None if they had some everywhere.

    The buffers ``*_mean`` and ``*_std`` always exist. ``*_floor`` (ℓ = log), and ``*_knots``,
    ``*_means``, ``*_stds``, ``*_by`` (dependence on a parameter) exist only where a channel needs
    them.

    Args:
        schema: names and geometry.
        statistics: by variable name, in physical units; a plain (mean, standard deviation) is
            scaled by :class:`~fields.data.scaling.Standard`.

    Raises:
        KeyError: a variable of the schema has no statistics.

    Example:
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 2.0),))
        >>> normalizer = Normalizer(schema, {"a": (1.0, 4.0), "u": (0.0, 10.0)})
        >>> normalizer.points(torch.tensor([[0.0], [2.0]])).flatten().tolist()
        [-0.5, 0.5]
        >>> normalizer.inputs(torch.tensor([[[9.0]]])).item()
        2.0
        >>> normalizer.physical(torch.tensor([[[0.5]]])).item()
        5.0
    """

    center: Tensor
    extent: Tensor
    unit: Tensor
    inputs_mean: Tensor
    inputs_std: Tensor
    outputs_mean: Tensor
    outputs_std: Tensor
    params_mean: Tensor
    params_std: Tensor
    missing: MissingPlaces | None

    def __init__(self, schema: Schema, statistics: Mapping[str, Statistics | tuple[float, float]]):
        super().__init__()
        self.missing = None
        self.periodic = schema.periodic
        if schema.weight is not None:
            statistics = {**statistics, schema.weight: (0.0, 1.0)}
        low, high = torch.tensor(schema.bounds, dtype=torch.float64).T
        # Its type is that of the model: what is normalized is converted to it.
        self.register_buffer("unit", torch.ones(()), persistent=False)
        double = any(needs_double(*bounds) for bounds in schema.bounds)
        dtype = torch.float64 if double else torch.float32
        self.register_buffer("center", ((low + high) / 2).to(dtype))
        self.register_buffer("extent", (high - low).to(dtype))
        channels = (schema.inputs * schema.history, schema.outputs, schema.params)
        for role, names in zip(ROLES, channels, strict=True):
            missing = [name for name in names if name not in statistics]
            if missing:
                raise KeyError(
                    f"There are no statistics for {missing}, only for {sorted(statistics)}. "
                    "Compute them with `fields.data.dataset_statistics`."
                )
            maps = [fit_map(name, statistics[name]) for name in names]
            self._register(role, maps, schema.params)

    def _register(self, role: str, maps: Sequence[AffineMap], params: Sequence[str]) -> None:
        """Stores the maps of one role, a channel each, as buffers."""
        double = any(needs_double(m.mean - 4 * m.std, m.mean + 4 * m.std) for m in maps)

        def row(values: Sequence[Any]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64 if double else torch.float32)

        self.register_buffer(f"{role}_mean", row([m.mean for m in maps]))
        self.register_buffer(f"{role}_std", row([m.std for m in maps]))
        if any(m.floor for m in maps):
            self.register_buffer(f"{role}_floor", row([m.floor for m in maps]))
        if any(m.groups for m in maps):
            # Tables of equal length: shorter ones repeat their last row, and a channel that does
            # not depend on a parameter has the same row everywhere.
            longest = max(2, *(len(m.groups) for m in maps))
            groups = [list(m.groups or ((0.0, m.mean, m.std),)) for m in maps]
            tables = row([rows + [rows[-1]] * (longest - len(rows)) for rows in groups])
            for i, name in enumerate(("knots", "means", "stds")):
                self.register_buffer(f"{role}_{name}", tables[..., i].contiguous())
            by = [params.index(m.by) if m.by else 0 for m in maps]
            self.register_buffer(f"{role}_by", torch.tensor(by))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Registers the optional buffers that the file has, then loads all of them."""
        for role in ROLES:
            for name in OPTIONAL_BUFFERS:
                stored = state_dict.get(f"{prefix}{role}_{name}")
                if stored is not None:
                    empty = torch.empty_like(stored, device=self.center.device)
                    self.register_buffer(f"{role}_{name}", empty)
        first = f"{prefix}missing."
        tables = {k.removeprefix(first): v for k, v in state_dict.items() if k.startswith(first)}
        if tables:
            self.missing = MissingPlaces.like(tables, self.periodic, self.center.device)
        for name, own in self.named_buffers(recurse=False):
            stored = state_dict.get(f"{prefix}{name}")
            if stored is not None and stored.dtype == torch.float64 != own.dtype:
                self.register_buffer(name, own.double())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def points(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Physical coordinates to unit coordinates."""
        return self._to_model((x - self.center) / self.extent)

    def inputs(
        self, u: Float[Tensor, "b n c"], params: Float[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "b n c"]:
        """Physical input values to normalized ones.

        Args:
            u: values.
            params: physical constants of the PDE, needed if a scaling depends on one.
        """
        return self._normalize("inputs", u, params)

    def masked_inputs(
        self,
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        params: Float[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """The same with 0, the mean of the variable, where points have no value or are padding."""
        return torch.where(x_mask[..., None], self.inputs(u, params), 0.0)

    def params(self, p: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        """Physical constants of the PDE to normalized ones."""
        return self._normalize("params", p, None)

    def physical(
        self, v: Float[Tensor, "... o"], params: Float[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "... o"]:
        """Normalized output values to physical units; inverse of :meth:`normalized`."""
        mean, std = self._mean_std("outputs", v, params)
        v = mean + std * v
        floor = getattr(self, "outputs_floor", None)
        return v if floor is None else torch.where(floor > 0, v.exp(), v)

    def normalized(
        self, v: Float[Tensor, "... o"], params: Float[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "... o"]:
        """Physical output values to normalized ones, for models that are fitted to them."""
        return self._normalize("outputs", v, params)

    def _normalize(self, role: str, values: Tensor, params: Tensor | None) -> Tensor:
        floor = getattr(self, f"{role}_floor", None)
        if floor is not None:
            # The inner `where` keeps the gradient finite in channels without a logarithm.
            positive = torch.where(floor > 0, values.clamp(min=floor), 1.0)
            values = torch.where(floor > 0, positive.log(), values)
        mean, std = self._mean_std(role, values, params)
        return self._to_model((values - mean) / std)

    def _to_model(self, normalized: Tensor) -> Tensor:
        """Normalized values of order one in the precision of the model."""
        return normalized.to(self.unit.dtype) if normalized.dtype == torch.float64 else normalized

    def _mean_std(self, role: str, values: Tensor, params: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and std of every channel, interpolated linearly between known parameter values."""
        knots = getattr(self, f"{role}_knots", None)
        if knots is None:
            return getattr(self, f"{role}_mean"), getattr(self, f"{role}_std")
        if params is None:
            raise ValueError(
                f"The scale of the {role} depends on a parameter of the PDE, and no parameters "
                "were given. Also pass `params` to the normalizer."
            )
        p = rearrange(params[:, getattr(self, f"{role}_by")], "b c -> c b").contiguous()
        p = p.to(torch.promote_types(p.dtype, knots.dtype))
        knots = knots.to(p.dtype)
        right = torch.searchsorted(knots, p).clamp(1, knots.shape[1] - 1)
        low = knots.gather(1, right - 1)
        high = knots.gather(1, right)
        weight = ((p - low) / (high - low).clamp(min=torch.finfo(p.dtype).tiny)).clamp(0, 1)
        means, stds = (
            torch.lerp(table.gather(1, right - 1), table.gather(1, right), weight.to(table.dtype)).T
            for table in (getattr(self, f"{role}_means"), getattr(self, f"{role}_stds"))
        )
        shape = (params.shape[0], *[1] * (values.ndim - 2), values.shape[-1])
        return means.reshape(shape), stds.reshape(shape)


def fit_map(name: str, given: Statistics | tuple[float, float]) -> AffineMap:
    """The map of one variable, fitted by the scaling that its statistics name.

    Example:
        >>> fit_map("u", (3.0, 2.0))[:2]
        (3.0, 2.0)
    """
    statistics = given if isinstance(given, Statistics) else Statistics(given[0], given[1])
    return statistics.scaling.fit(name, statistics)
