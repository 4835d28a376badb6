"""Diffusion: values stay in range, means stay put, and the sign is the right one."""

import pytest
import torch
from helpers.physics import DIM, STEPS, context, march, shaken

from fields.flows.grand import (
    ExplicitDiffusion,
    ImplicitDiffusion,
    RandomWalkField,
    SaturatedGrandField,
    SymmetricGrandField,
    Uniformization,
)
from fields.nn.graph.graph_attention import GraphAttention

RANGE = [
    (RandomWalkField, ExplicitDiffusion(), 0.1),
    (RandomWalkField, ExplicitDiffusion(), 1.0),
    (RandomWalkField, Uniformization(terms=1), 3.0),
    (RandomWalkField, Uniformization(terms=8), 3.0),
    (SymmetricGrandField, ExplicitDiffusion(), 0.5),
    (SymmetricGrandField, ExplicitDiffusion(), 5.0),
    (SymmetricGrandField, ImplicitDiffusion(), 20.0),
    (SymmetricGrandField, Uniformization(terms=8), 3.0),
    (SaturatedGrandField, ExplicitDiffusion(), 1.0),
]


def field(cls, **options):
    torch.manual_seed(0)
    return shaken(cls(DIM, **options), by=1.0)


@pytest.mark.parametrize(
    ("cls", "method", "h"),
    RANGE,
    ids=lambda x: getattr(x, "__name__", type(x).__name__ if callable(x) else x),
)
def test_no_value_leaves_the_range_it_starts_in(cls, method, h):
    f = field(cls)
    z, where = context()
    before = z
    for x, _ in march(f, method, z, where, h, 30):
        assert (x.amax(1) <= before.amax(1) + 1e-13).all() and (
            x.amin(1) >= before.amin(1) - 1e-13
        ).all()
        before = x
    assert (before - z).norm() > 0.1 * z.norm()
    constant = z[:, :1].expand_as(z).contiguous()
    *_, (same, _) = march(f, method, constant, where, h, 3)
    torch.testing.assert_close(same, constant, atol=1e-13, rtol=0)


@pytest.mark.parametrize(
    ("cls", "method", "h"), [r for r in RANGE if r[0] is not RandomWalkField], ids=str
)
@pytest.mark.parametrize("iterations", [0, 4])
def test_symmetric_diffusion_keeps_the_mean_and_shrinks_the_norm(cls, method, h, iterations):
    f = field(cls, iterations=iterations)
    z, where = context()
    before = z
    for x, _ in march(f, method, z, where, h, 50):
        assert (x.norm(dim=(1, 2)) <= before.norm(dim=(1, 2)) * (1 + 1e-13)).all()
        before = x
    assert (before.mean(1) - z.mean(1)).abs().max() < 1e-12


@STEPS
@pytest.mark.parametrize("iterations", [0, 4])
def test_mean_far_ahead(iterations, steps):
    f = field(SymmetricGrandField, iterations=iterations)
    z, where = context()
    *_, (x, _) = march(f, ExplicitDiffusion(), z, where, 0.5, steps)
    assert (x.mean(1) - z.mean(1)).abs().max() < 1e-12


def test_neighbors_come_closer_and_the_other_sign_blows_up():
    f = field(SymmetricGrandField)
    z, where = context()
    w = f.weights(z, where).mean(1)
    rough = lambda x: (w[..., None] * (x[:, :, None] - x[:, None]).square()).sum((1, 2, 3))  # noqa: E731
    x, _ = next(march(f, ExplicitDiffusion(), z, where, 0.2, 1))
    assert (rough(x) < rough(z)).all()
    for _ in range(50):
        z = z - f(0.0, z, where)
    assert z.var() > 1e3


def test_step_beyond_the_bound_would_leave_the_range():
    f = field(RandomWalkField)
    z, where = context()
    far = z + 3.0 * f(0.0, z, where) / f.diffusivity().min()
    assert (far.amax(1) > z.amax(1) + 1e-3).any()


def test_graph_attention_smooths_everything_away_and_a_source_does_not_let_diffusion():
    torch.manual_seed(0)
    z, where = context()
    near = where.distance2 < 0.2

    def spread(x):
        return float(x.var(1).mean() / x.square().mean())

    layer = GraphAttention(DIM).double()
    x = z
    with torch.no_grad():
        for _ in range(20):
            x = layer(x, near)
    assert spread(x) < 1e-3 * spread(z)
    f = SymmetricGrandField(DIM).double()
    torch.nn.init.zeros_(
        f.log_length
    )  # every head reaches all tokens: a head of length 0.05 has no neighbors among twelve
    *_, (still, _) = march(f, ExplicitDiffusion(), z, where, 1.0, 200)
    fed = z
    for _ in range(200):
        fed = next(march(f, ExplicitDiffusion(), fed, where, 1.0, 1))[0] + 0.1 * (z - fed)
    assert spread(still) < 1e-3 * spread(z) and spread(fed) > 1e-2 * spread(z)
