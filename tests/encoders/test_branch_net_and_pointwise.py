"""Encoders without compression: `BranchNet` at fixed sensors and `PointwiseEncoder`."""

from __future__ import annotations

import pytest
import torch
from problems import schema

from fields.encoders.branch_net import BranchNet
from fields.encoders.pointwise import PointwiseEncoder

PLANE = (False, True)


def inputs(n: int = 64, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(1, n, 2, generator=g).double() - 0.5
    u = torch.randn(3, n, 1, generator=g).double()
    return x, u, torch.ones(1, n, dtype=torch.bool)


def test_sensors_may_be_reordered_but_not_moved():
    torch.manual_seed(0)
    encoder = BranchNet(16, schema(PLANE), tokens=(2, 3)).double()
    x, u, mask = inputs()
    first = encoder(x, u, mask)
    assert first.z.shape == (3, 6, 16) and (first.z[0] - first.z[1]).abs().max() > 1e-3
    order = torch.randperm(64)
    torch.testing.assert_close(
        encoder(x[:, order], u[:, order], mask).z, first.z, atol=1e-12, rtol=0
    )
    with pytest.raises(ValueError, match="BranchNet was built for 64 fixed sensors, got 32 points"):
        encoder(x[:, :32], u[:, :32], mask[:, :32])
    with pytest.raises(ValueError, match="got points at other positions"):
        encoder(inputs(seed=1)[0], u, mask)
    again = BranchNet(16, schema(PLANE), tokens=(2, 3)).double()
    again.load_state_dict(encoder.state_dict())  # the places are part of a checkpoint
    with pytest.raises(ValueError, match="other positions"):
        again(inputs(seed=1)[0], u, mask)


def test_sensors_of_scattered_problems_need_a_count():
    s = schema(PLANE)
    scattered = type(s)(**{**s.to_dict(), "grid": None})
    with pytest.raises(ValueError, match="Give the `count` of sensors"):
        BranchNet(16, scattered, tokens=(2, 2))
    assert BranchNet(16, scattered, tokens=(2, 2), count=5).sensors.count == 5


def test_every_point_is_a_token_of_its_own():
    torch.manual_seed(0)
    encoder = PointwiseEncoder(16, schema(PLANE)).double()
    x, u, mask = inputs()
    latent = encoder(x, u, mask)
    assert latent.z.shape == (3, 64, 16) and latent.pos is x
    changed = u.clone()
    changed[:, 7] += 1
    moved = (encoder(x, changed, mask).z - latent.z).abs().sum(-1)
    assert (moved > 0).nonzero()[:, 1].unique().tolist() == [7]
    mask = mask.expand(3, -1).clone()
    mask[1, 40:] = False
    with pytest.raises(ValueError, match="got between 40 and 64"):
        encoder(x.expand(3, -1, -1), u, mask)
