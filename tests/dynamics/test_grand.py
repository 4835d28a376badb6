"""Diffusion: values stay in range, means stay put, and the sign is the right one."""

import pytest
import torch
from physics import DIM, context, march, shaken

from fields.dynamics import RandomWalk, SaturatedGrand, SymmetricGrand
from fields.integrators import ExplicitDiffusion, ImplicitDiffusion, Uniformisation
from fields.nn.gat import GAT

RANGE = [
    (RandomWalk, ExplicitDiffusion(), 0.1),
    (RandomWalk, ExplicitDiffusion(), 1.0),
    (RandomWalk, Uniformisation(terms=1), 3.0),
    (RandomWalk, Uniformisation(terms=8), 3.0),
    (SymmetricGrand, ExplicitDiffusion(), 0.5),
    (SymmetricGrand, ExplicitDiffusion(), 5.0),
    (SymmetricGrand, ImplicitDiffusion(), 20.0),
    (SymmetricGrand, Uniformisation(terms=8), 3.0),
    (SaturatedGrand, ExplicitDiffusion(), 1.0),
]


def field(cls, **options):
    torch.manual_seed(0)
    return shaken(cls(DIM, **options), by=1.0)


@pytest.mark.parametrize(
    ("cls", "method", "h"), RANGE, ids=lambda x: getattr(x, "__name__", type(x).__name__ if callable(x) else x)
)
def test_no_value_leaves_the_range_it_starts_in(cls, method, h):
    f, (z, where) = field(cls), context()
    before = z
    for x, _ in march(f, method, z, where, h, 30):
        assert (x.amax(1) <= before.amax(1) + 1e-13).all() and (x.amin(1) >= before.amin(1) - 1e-13).all()
        before = x
    assert (before - z).norm() > 0.1 * z.norm()
    constant = z[:, :1].expand_as(z).contiguous()
    *_, (same, _) = march(f, method, constant, where, h, 3)
    torch.testing.assert_close(same, constant, atol=1e-13, rtol=0)


@pytest.mark.parametrize(("cls", "method", "h"), [r for r in RANGE if r[0] is not RandomWalk], ids=str)
@pytest.mark.parametrize("iterations", [0, 4])
def test_symmetric_diffusion_keeps_the_mean_and_shrinks_the_norm(cls, method, h, iterations):
    f, (z, where) = field(cls, iterations=iterations), context()
    before = z
    for x, _ in march(f, method, z, where, h, 100):
        assert (x.norm(dim=(1, 2)) <= before.norm(dim=(1, 2)) * (1 + 1e-13)).all()
        before = x
    assert (before.mean(1) - z.mean(1)).abs().max() < 1e-12


def test_mean_after_a_thousand_steps():
    f, (z, where) = field(SymmetricGrand), context()
    *_, (x, _) = march(f, ExplicitDiffusion(), z, where, 0.5, 1000)
    assert (x.mean(1) - z.mean(1)).abs().max() < 1e-12


def test_neighbours_come_closer_and_the_other_sign_blows_up():
    f, (z, where) = field(SymmetricGrand), context()
    w = f.weights(z, where).mean(1)
    rough = lambda x: (w[..., None] * (x[:, :, None] - x[:, None]).square()).sum((1, 2, 3))  # noqa: E731
    x, _ = next(march(f, ExplicitDiffusion(), z, where, 0.2, 1))
    assert (rough(x) < rough(z)).all()
    for _ in range(50):
        z = z - f(0.0, z, where)
    assert z.var() > 1e3


def test_step_beyond_the_bound_would_leave_the_range():
    f, (z, where) = field(RandomWalk), context()
    far = z + 3.0 * f(0.0, z, where) / f.diffusivity().min()
    assert (far.amax(1) > z.amax(1) + 1e-3).any()


def test_graph_attention_is_stochastic_lopsided_and_smooths_everything_away():
    torch.manual_seed(0)
    layer, (z, where) = GAT(DIM).double(), context()
    near = where.distance2 < 0.15
    near[:, 0] = False  # a node without neighbours
    features = layer.feature(z).unflatten(-1, (4, -1)).transpose(1, 2)
    alpha = layer.weights(features, near)
    torch.testing.assert_close(alpha.sum(-1)[:, :, 1:], torch.ones(3, 4, 11).double(), atol=1e-12, rtol=0)
    assert (alpha[:, :, 0] == 0).all() and (alpha[~near[:, None].expand_as(alpha)] == 0).all()
    assert (alpha - alpha.mT).abs().max() > 1e-2
    i, j, h = 2, 3, 1
    by_hand = torch.nn.functional.leaky_relu(torch.cat([features[0, h, i], features[0, h, j]]) @ layer.score[:, h].flatten(), 0.2)
    full = layer.weights(features)[0, h, i]
    self_score = torch.nn.functional.leaky_relu(
        torch.cat([features[0, h, i], features[0, h, i]]) @ layer.score[:, h].flatten(), 0.2
    )
    torch.testing.assert_close((full[j] / full[i]).log(), by_hand - self_score, atol=1e-12, rtol=0)
    spread, x = [], z
    for _ in range(20):
        x = layer(x)
        spread.append(x.var(1).mean() / x.square().mean())
    assert spread[-1] < 1e-3 * spread[0]
