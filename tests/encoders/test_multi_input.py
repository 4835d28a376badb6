"""Inputs with points of their own, and points that are denser in one part of the domain."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import xarray as xr
from problems import schema

import fields
from fields.core.component import build
from fields.core.sample import collate
from fields.data import FieldDataset, schema_of
from fields.data.normalizer import Normalizer
from fields.data.statistics import dataset_statistics
from fields.decoders.cross_attention import CrossAttention
from fields.encoders.cross_attention_encoder import CrossAttentionEncoder
from fields.encoders.multi_input import MultiInput
from fields.models.static import FieldOperator
from fields.nn.skip import SkipMoments
from fields.processors.transformer import Transformer

PLANE = (False, False)


def smooth(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(3 * x[..., :1]) + torch.cos(2 * x[..., :1] - 4 * x[..., 1:])


def cells(left: int, right: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Midpoints and areas of a grid with these columns in either half of the unit square."""
    columns = torch.cat(
        [-0.5 + (torch.arange(left) + 0.5) / (2 * left), (torch.arange(right) + 0.5) / (2 * right)]
    )
    widths = torch.cat([torch.full((left,), 0.5 / left), torch.full((right,), 0.5 / right)])
    rows = (torch.arange(n) + 0.5) / n - 0.5
    x = torch.stack(torch.meshgrid(columns, rows, indexing="ij"), -1).reshape(1, -1, 2).double()
    return x, widths.repeat_interleave(n).double()[None, :, None] / n


@pytest.mark.parametrize("cls", [CrossAttentionEncoder, MultiInput])
def test_with_quadrature_weights_refining_half_of_the_domain_changes_little(cls):
    """Four times the points in one half: below 1 % with weights, several times that without."""
    changes = {}
    for weight in ("w", None):
        torch.manual_seed(0)
        s = dataclasses.replace(
            schema(PLANE), inputs=("a", "w") if weight else ("a",), weight=weight
        )
        encoder = cls(16, s, tokens=(4, 4)).double()
        z = []
        for left in (24, 96):
            x, w = cells(left, 24, 48)
            u = torch.cat([smooth(x), w], dim=-1) if weight else smooth(x)
            z.append(encoder(x, u, torch.ones(x.shape[:2], dtype=torch.bool)).z)
        changes[weight] = ((z[1] - z[0]).norm() / z[0].norm()).item()
    assert changes["w"] < 0.01, changes
    assert changes[None] > 5 * changes["w"], changes


def test_a_common_factor_of_weights_cancels_and_zero_weights_remove_points():
    torch.manual_seed(0)
    s = dataclasses.replace(schema(PLANE), inputs=("a", "w"), weight="w")
    encoder = CrossAttentionEncoder(16, s, tokens=(3, 3)).double()
    x, _ = cells(6, 6, 12)
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    few = x[..., 0] < 0.2
    weight = torch.rand(1, x.shape[1], 1).double() + 0.5

    def z(w: torch.Tensor, mask: torch.Tensor = mask) -> torch.Tensor:
        return encoder(x, torch.cat([smooth(x), w], -1), mask).z

    torch.testing.assert_close(z(weight), z(7.0 * weight), atol=1e-12, rtol=0)
    assert (z(weight) - z(torch.ones_like(weight))).abs().max() > 1e-3
    torch.testing.assert_close(z(weight * few[..., None]), z(weight, few), atol=1e-10, rtol=0)


def test_inputs_with_points_of_their_own():
    """Each function is only read where it is given, and the order of points does not matter."""
    torch.manual_seed(0)
    s = dataclasses.replace(schema(PLANE), inputs=("a", "g", "sdf"))
    encoder = MultiInput(16, s, groups=(("a", "sdf"), ("g",)), tokens=(3, 3)).double()
    x = torch.rand(1, 50, 2).double() - 0.5
    u = torch.randn(2, 50, 3).double()
    u[:, 30:, [0, 2]] = math.nan
    u[:, :30, 1] = math.nan
    mask = torch.ones(1, 50, dtype=torch.bool)
    z = encoder(x, u, mask).z
    assert z.isfinite().all()
    order = torch.randperm(50)
    torch.testing.assert_close(encoder(x[:, order], u[:, order], mask).z, z, atol=1e-12, rtol=0)
    for channel, points in ((0, slice(0, 30)), (1, slice(30, None))):
        changed = u.clone()
        changed[:, points, channel] += 1
        assert (encoder(x, changed, mask).z - z).abs().max() > 1e-3
    half = u.clone()
    # A group is read where all of its variables are given.
    half[:, 10, 2] = math.nan
    without = mask.clone()
    without[:, 10] = False
    torch.testing.assert_close(
        encoder(x, half, mask).z, encoder(x, u, without).z, atol=1e-12, rtol=0
    )
    absent = u.clone()
    absent[..., 1] = math.nan
    assert encoder(x, absent, mask).z.isfinite().all()
    assert build(encoder.describe(), schema=s).describe() == encoder.describe()
    with pytest.raises(ValueError, match="Name each of them once"):
        MultiInput(16, s, groups=(("a",), ("g",)))


def test_a_file_of_several_inputs_with_weights(tmp_path):
    """Points in one list, NaN where a function is not given; queries are where targets are."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 9))
    g = rng.normal(size=(6, 9))
    a[..., 5:] = np.nan
    g[..., :5] = np.nan
    columns = {"a": a, "g": g, "w": np.full((6, 9), 0.1), "u": 2 * a}
    roles = {"a": "input", "g": "input", "w": "input", "u": "output"}
    marks = {"w": {"quadrature": 1}}
    ds = xr.Dataset(
        {k: (("sample", "point"), v.astype("f4"), {"role": roles[k], **marks.get(k, {})})
         for k, v in columns.items()},
        coords={c: ("point", rng.uniform(size=9), {"bounds": (0.0, 1.0)}) for c in "xy"},
    )  # fmt: skip
    fields.write_dataset(ds, tmp_path / "two.h5")
    opened = fields.open_dataset(tmp_path / "two.h5")
    s = schema_of(opened)
    assert s.weight == "w" and s.inputs == ("a", "g", "w")
    data = FieldDataset(opened, s)
    batch = collate([data[0], data[1]])
    assert batch.x.shape == (1, 9, 2) and batch.y.shape == (1, 5, 2) and batch.v.isfinite().all()
    u = Normalizer(s, dataset_statistics(data)).inputs(batch.u)
    torch.testing.assert_close(u[..., 2], batch.u[..., 2])  # weights as they are
    torch.manual_seed(0)
    model = FieldOperator(
        schema=s,
        normalizer=Normalizer(s, dataset_statistics(data)),
        dim=16,
        encoder=MultiInput(16, s, tokens=(2, 2)),
        processor=Transformer(16, depth=1),
        decoder=CrossAttention(16, s),
    )
    assert model(batch).shape == (2, 1, 5, 1) and model(batch).isfinite().all()
    near = SkipMoments(2, lengths=(0.1,))
    model.decoder = CrossAttention(16, s, skip_features=near.features)
    model.skip = near
    with pytest.raises(
        ValueError,
        match=r"The skip path needs every input at every point, got NaN.*Set `skip: null`",
    ):
        model(batch)
    assert model(batch._replace(u=batch.u.nan_to_num())).isfinite().all()
    model.decoder = CrossAttention(16, s)
    model.skip = None
    out = model.predict(opened).u
    assert np.isfinite(out).all() and out.shape == (6, 9)
    with pytest.raises(ValueError, match="not among its inputs"):
        dataclasses.replace(s, weight="m")
