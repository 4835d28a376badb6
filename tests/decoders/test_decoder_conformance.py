"""The contract of `fields.decoders.base.Decoder`, checked for every decoder in the package."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
import torch
from problems import schema
from walking import each

import fields.decoders
from fields.core.component import build
from fields.core.sample import Latent
from fields.decoders.base import Decoder, FittedDecoder
from fields.decoders.cross_attention import CrossAttention
from fields.nn.embeddings import grid_points

DIM = 16  # token width
CHANNELS = 3  # features of the skip path
ANCHORS = ((12,), (4, 5), (3, 4, 3))  # on a line, in the plane, in space
PERIODIC = [(True,), (False, True), (False, True, False)]
PLANE = (False, True)

# A variant that computes differently is checked in the same way.
NEAREST = pytest.param(partial(CrossAttention, nearest=9), id="CrossAttention-nearest")
DECODERS = each(fields.decoders, Decoder, NEAREST)
AXES = pytest.mark.parametrize("periodic", PERIODIC, ids=["1D", "2D", "3D"])


def make(cls, periodic, skip_features: int = 0, dtype=torch.float64) -> Decoder:
    """The decoder of the tokens that `tokens` makes."""
    torch.manual_seed(0)
    given = "tokens" in inspect.signature(cls).parameters
    options = {"tokens": ANCHORS[len(periodic) - 1]} if given else {}
    return cls(DIM, schema(periodic), skip_features=skip_features, **options).to(dtype)


def tokens(periodic, batch: int = 3, dtype=torch.float64) -> Latent:
    g = torch.Generator().manual_seed(1)
    pos = grid_points(ANCHORS[len(periodic) - 1]).double()
    z = torch.randn(batch, len(pos), DIM, generator=g, dtype=torch.float64)
    return Latent(z.to(dtype), pos[None].to(dtype), torch.tensor(periodic))


def points(periodic, m: int = 40, dtype=torch.float64) -> torch.Tensor:
    g = torch.Generator().manual_seed(2)
    return (torch.rand(1, m, len(periodic), generator=g, dtype=torch.float64) - 0.5).to(dtype)


@DECODERS
@AXES
def test_queries_are_independent_of_each_other(cls, periodic):
    decoder = make(cls, periodic)
    latent = tokens(periodic)
    y = points(periodic)
    whole = decoder(latent, y)
    assert whole.shape == (3, 40, 1) and whole.std(1).min() > 1e-4
    parts = torch.cat([decoder(latent, y[:, i : i + 7]) for i in range(0, 40, 7)], dim=1)
    torch.testing.assert_close(parts, whole, atol=1e-12, rtol=0)


@DECODERS
@AXES
def test_the_order_of_tokens_does_not_matter_but_their_positions_do(cls, periodic):
    decoder = make(cls, periodic)
    latent = tokens(periodic)
    y = points(periodic)
    order = torch.randperm(latent.z.shape[1])
    moved = latent._replace(z=latent.z[:, order], pos=latent.pos[:, order])
    torch.testing.assert_close(decoder(moved, y), decoder(latent, y), atol=1e-11, rtol=0)
    swapped = latent._replace(z=latent.z[:, order])
    assert (decoder(swapped, y) - decoder(latent, y)).abs().max() > 1e-5


@DECODERS
@AXES
def test_samples_do_not_influence_each_other(cls, periodic):
    decoder = make(cls, periodic)
    latent = tokens(periodic)
    y = points(periodic)
    cond = torch.randn(3, DIM, dtype=torch.float64)
    whole = decoder(latent, y, cond)
    single = decoder(latent._replace(z=latent.z[1:2]), y, cond[1:2])
    torch.testing.assert_close(single, whole[1:2], atol=1e-12, rtol=0)
    # Every sample has tokens and queries at points of its own instead of shared ones.
    own = latent._replace(pos=latent.pos.expand(3, -1, -1))
    torch.testing.assert_close(decoder(own, y.expand(3, -1, -1), cond), whole, atol=1e-12, rtol=0)
    assert (whole[0] - whole[1]).abs().max() > 1e-4


@DECODERS
@AXES
def test_exactly_the_periodic_axes_are_closed(cls, periodic):
    decoder = make(cls, periodic)
    latent = tokens(periodic)
    y = points(periodic)
    for axis, closed in enumerate(periodic):
        step = torch.zeros(len(periodic), dtype=y.dtype)
        step[axis] = 1.0
        if closed:
            moved = decoder(latent, y + step)
            torch.testing.assert_close(moved, decoder(latent, y), atol=1e-10, rtol=0)
        low, high = (torch.where(step > 0, edge, y) for edge in (-0.5 + 1e-9, 0.5 - 1e-9))
        jump = (decoder(latent, high) - decoder(latent, low)).abs().max()
        assert jump < 1e-5 if closed else jump > 1e-4


@DECODERS
def test_the_field_is_continuous(cls):
    """No single step along a line makes a large part of the whole variation."""
    decoder = make(cls, PLANE)
    latent = tokens(PLANE)
    ends = ((-0.5, 0.5), (-0.41, 0.47))
    line = torch.stack([torch.linspace(a, b, 2001) for a, b in ends], -1).double()[None]
    with torch.no_grad():
        steps = decoder(latent, line).diff(dim=1).abs()
    assert steps.max() < 0.02 * (steps.sum(1).max() + 1e-3)


@DECODERS
def test_gradients_reach_every_parameter_and_are_those_of_finite_differences(cls):
    decoder = make(cls, PLANE, CHANNELS)
    latent = tokens(PLANE)
    y = points(PLANE)
    features = torch.randn(3, 40, CHANNELS).double()
    decoder(latent, y, None, features).square().sum().backward()
    dead = [
        name
        for name, p in decoder.named_parameters()
        if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert not dead, f"no gradient reaches {dead}"
    assert torch.autograd.gradcheck(
        lambda z: decoder(latent._replace(z=z), y, None, features),
        latent.z.requires_grad_(),
        fast_mode=True,
    )


@DECODERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_type_inference_mode_and_skip_path(cls, dtype):
    decoder = make(cls, PLANE, CHANNELS, dtype)
    latent = tokens(PLANE, dtype=dtype)
    y = points(PLANE, dtype=dtype)
    features = torch.randn(3, 40, CHANNELS, dtype=dtype)
    expected = decoder(latent, y, None, features)
    assert expected.dtype == dtype
    with torch.inference_mode():
        torch.testing.assert_close(decoder(latent, y, None, features), expected)
    assert (expected - decoder(latent, y, None, features.flip(1))).abs().max() > 1e-4


@DECODERS
def test_half_precision_stays_close(cls):
    decoder = make(cls, PLANE, dtype=torch.float32)
    latent = tokens(PLANE, dtype=torch.float32)
    y = points(PLANE, dtype=torch.float32)
    exact = decoder(latent, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = decoder(latent, y).float()
    assert (out - exact).norm() < 0.1 * exact.norm()


@DECODERS
def test_a_checkpoint_reproduces_it(cls):
    decoder = make(cls, PLANE, CHANNELS)
    latent = tokens(PLANE)
    y = points(PLANE)
    if isinstance(decoder, FittedDecoder):
        nodes = grid_points(schema(PLANE).grid).double()[None]
        decoder.fit(nodes, torch.randn(20, nodes.shape[1], 1, dtype=torch.float64))
    features = torch.randn(3, 40, CHANNELS).double()
    expected = decoder(latent, y, None, features)
    torch.manual_seed(1)
    again = build(decoder.describe(), schema=schema(PLANE)).double()
    again.load_state_dict(decoder.state_dict())
    torch.testing.assert_close(again(latent, y, None, features), expected, atol=0, rtol=0)
    assert again.describe() == decoder.describe()


@DECODERS
def test_the_constructor_takes_dim_schema_and_optional_keywords(cls):
    parameters = list(inspect.signature(cls).parameters.values())
    assert [p.name for p in parameters[:3]] == ["dim", "schema", "skip_features"]
    assert all(
        p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is not inspect.Parameter.empty
        for p in parameters[2:]
    )
