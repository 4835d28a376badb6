"""Small problems and models that many tests share; the suite needs no download and no GPU."""

from __future__ import annotations

import json

import numpy as np
import torch
import xarray as xr

from fields.core.sample import Schema
from fields.data.normalizer import Normalizer
from fields.decoders.cross_attention import CrossAttention
from fields.encoders.cross_attention_encoder import CrossAttentionEncoder
from fields.models.static import FieldOperator
from fields.nn.skip import SkipMoments
from fields.processors.transformer import Transformer


def axis(n: int, periodic: bool) -> np.ndarray:
    return np.arange(n) / n if periodic else np.linspace(0, 1, n)


def waves(
    samples: int, sizes: tuple[int, ...], periodic: tuple[bool, ...], seed: int = 0
) -> xr.Dataset:
    """Random smooth inputs a and outputs u = a²/2 + a mean, in canonical form."""
    random = np.random.default_rng(seed)
    names = ("x", "y", "z")[: len(sizes)]
    axes = [axis(n, p) for n, p in zip(sizes, periodic, strict=True)]
    mesh = np.meshgrid(*axes, indexing="ij")
    a = np.zeros((samples, *sizes))
    for _ in range(3):
        phase = random.uniform(0, 2 * np.pi, samples)
        turns = random.integers(1, 3, size=len(sizes))
        wave = sum(2 * np.pi * k * m for k, m in zip(turns, mesh, strict=True))
        a += random.normal(size=(samples, *[1] * len(sizes))) * np.cos(
            wave + phase.reshape(-1, *[1] * len(sizes))
        )
    dims = ("sample", *names)
    coords = {
        n: (n, ax, {"periodic": int(p), "bounds": (0.0, 1.0), "units": "m"})
        for n, ax, p in zip(names, axes, periodic, strict=True)
    }
    shifts = [n for n, p in zip(names, periodic, strict=True) if p]
    return xr.Dataset(
        {
            "a": (dims, a.astype("f4"), {"role": "input", "units": "K"}),
            "u": (
                dims,
                (a**2 / 2 + a.mean(tuple(range(1, a.ndim)), keepdims=True)).astype("f4"),
                {"role": "output", "units": "J"},
            ),
        },
        coords=coords,
        attrs={"problem": "waves", "symmetries": json.dumps([{"shift": shifts}] if shifts else [])},
    )


def schema(periodic: tuple[bool, ...]) -> Schema:
    d = len(periodic)
    return Schema(
        coords=("x", "y", "z")[:d],
        inputs=("a",),
        outputs=("u",),
        units={"u": "J"},
        periodic=periodic,
        homogeneous=periodic,
        bounds=((0.0, 1.0),) * d,
        grid=(8,) * d,
    )


def operator(
    periodic: tuple[bool, ...],
    *,
    encoder: type = CrossAttentionEncoder,
    dim: int = 32,
    skip: bool = True,
    seed: int = 0,
) -> FieldOperator:
    torch.manual_seed(seed)
    s = schema(periodic)
    d = len(periodic)
    moments = SkipMoments(d, lengths=(0.05, 0.2)) if skip else None
    return FieldOperator(
        schema=s,
        normalizer=Normalizer(s, {"a": (0.1, 1.3), "u": (0.4, 2.0)}),
        dim=dim,
        encoder=encoder(dim, s, tokens=(4,) * d),
        processor=Transformer(dim, depth=2),
        decoder=CrossAttention(dim, s, skip_features=moments.features if moments else 0),
        skip=moments,
    ).eval()


def travelling(
    samples: int = 4, frames: int = 8, n: int = 16, seed: int = 0, dims: int = 1
) -> xr.Dataset:
    """States u(x − ct) and w = 2u + c, a static input c and a parameter nu.

    The dataset is in canonical form, with a frame every 0.25.

    In two dimensions u(x − ct + y), which is homogeneous along both axes.
    """
    random = np.random.default_rng(seed)
    x = np.arange(n) / n
    time = 0.25 * np.arange(frames)
    speed = random.choice([0.25, 0.5], samples)
    phase = random.uniform(0, 1, samples)
    place = x if dims == 1 else x[:, None] + x
    here = (slice(None), *[None] * dims)
    u = np.cos(2 * np.pi * (place - (speed[:, None] * time - phase[:, None])[:, *here])).astype(
        "f4"
    )
    axes = "xy"[:dims]
    state = ("sample", "time", *axes)
    return xr.Dataset(
        {
            "u": (state, u, {"role": "state", "units": "m"}),
            "w": (state, 2 * u + speed[:, None][:, *here].astype("f4"), {"role": "state"}),
            "c": (
                ("sample", *axes),
                np.broadcast_to(speed[here], (samples, *u.shape[2:])).astype("f4"),
                {"role": "input"},
            ),
            "nu": ("sample", speed, {"role": "parameter"}),
        },
        coords={"time": ("time", time, {"units": "s"})}
        | {a: (a, x, {"periodic": 1, "bounds": (0.0, 1.0)}) for a in axes},
        attrs={"problem": "travelling", "symmetries": json.dumps([{"shift": list(axes)}])},
    )


__all__ = ["operator", "schema", "travelling", "waves"]
