"""The skip path against its own formula, summed pair by pair in double precision."""

from __future__ import annotations

import math

import pytest
import torch

from fields.nn.skip import SkipMoments


@pytest.mark.parametrize("periodic", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("points", ["shared", "own", "grid", "turned grid"])
def test_moments_are_those_of_the_formula(periodic: tuple[bool, bool], points: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.rand(3 if points == "own" else 1, count, 2, generator=generator) - 0.5
        for count in (40, 7)
    )
    u = torch.randn(3, 40, 2, generator=generator)
    wraps = torch.tensor(periodic)
    mask = torch.rand(len(x), 40, generator=generator) < 0.8
    if "grid" in points:
        x = torch.cartesian_prod(x[0, :8, 0], x[0, :5, 1])[None]
        mask = torch.ones(1, 40, dtype=torch.bool)
    if "turned" in points:
        x = x.flip(-1)
    local = SkipMoments(2, lengths=(0.05, 0.3))
    found = local(x, u, mask, y, wraps)

    offset = (x[:, None] - y[:, :, None]).double()
    turned = torch.where(wraps, torch.sin(2 * math.pi * offset) / (2 * math.pi), offset)
    chord = torch.where(
        wraps, torch.sin(math.pi * offset) / math.pi, offset
    )  # as `embed` measures distance
    for i, length in enumerate((0.05, 0.3)):
        weight = torch.exp(-0.5 * chord.square().sum(-1) / length**2) * mask[:, None]
        weight = (weight / weight.sum(-1, keepdim=True)).expand(3, -1, -1)
        means = [torch.einsum("bmn,bnc->bmc", weight, u.double())]
        means += [
            torch.einsum(
                "bmn,bmn,bnc->bmc", weight, turned[..., a].expand(3, -1, -1) / length, u.double()
            )
            for a in (0, 1)
        ]
        expected = torch.cat(means, dim=-1)
        torch.testing.assert_close(
            found[..., 6 * i : 6 * i + 6].double(), expected, atol=3e-5, rtol=0
        )
    assert found.shape == (3, 7, local.features * 2)
