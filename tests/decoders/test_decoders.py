"""What every decoder must do, found by walking ``fields.decoders``: a new one is tested without editing this file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import partial

import pytest
import torch
from problems import schema

import fields.decoders
from fields.core.component import build as rebuild
from fields.core.sample import Latent
from fields.decoders.base import Decoder
from fields.decoders.cross_attention import CrossAttention
from fields.nn.embeddings import grid_points

DIM, CHANNELS = 16, 3  # width of tokens; features of the skip path
ANCHORS = ((12,), (4, 5), (3, 4, 3))  # on a line, in the plane, in space
PERIODIC = [(True,), (False, True), (False, True, False)]


def all_decoders() -> list[type[Decoder]]:
    modules = [
        importlib.import_module(m.name)
        for m in pkgutil.iter_modules(fields.decoders.__path__, "fields.decoders.")
    ]
    found = {
        c
        for m in modules
        for c in vars(m).values()
        if inspect.isclass(c) and issubclass(c, Decoder)
    }
    return sorted((c for c in found if not inspect.isabstract(c)), key=lambda c: c.__name__)


NEAREST = pytest.param(partial(CrossAttention, nearest=9), id="CrossAttention to the nearest")
DECODERS = pytest.mark.parametrize(
    "cls", [*(pytest.param(c, id=c.__name__) for c in all_decoders()), NEAREST]
)
AXES = pytest.mark.parametrize("periodic", PERIODIC, ids=["1D", "2D", "3D"])


def make(cls, periodic, skip_features: int = 0, dtype=torch.float64) -> Decoder:
    torch.manual_seed(0)
    told = (
        {"tokens": ANCHORS[len(periodic) - 1]}
        if "tokens" in inspect.signature(cls).parameters
        else {}
    )
    return cls(DIM, schema(periodic), skip_features=skip_features, **told).to(dtype)


def tokens(periodic, batch: int = 3, dtype=torch.float64) -> Latent:
    g = torch.Generator().manual_seed(1)
    d = len(periodic)
    pos = grid_points(ANCHORS[d - 1]).double()
    z = torch.randn(batch, len(pos), DIM, generator=g, dtype=torch.float64)
    return Latent(z.to(dtype), pos[None].to(dtype), torch.tensor(periodic))


def points(periodic, m: int = 40, dtype=torch.float64) -> torch.Tensor:
    g = torch.Generator().manual_seed(2)
    return (torch.rand(1, m, len(periodic), generator=g, dtype=torch.float64) - 0.5).to(dtype)


@DECODERS
@AXES
def test_decoding_in_chunks_is_decoding_at_once(cls, periodic):
    decoder, latent, y = make(cls, periodic), tokens(periodic), points(periodic)
    whole = decoder(latent, y)
    assert whole.shape == (3, 40, 1) and whole.std(1).min() > 1e-4
    parts = torch.cat([decoder(latent, y[:, i : i + 7]) for i in range(0, 40, 7)], dim=1)
    torch.testing.assert_close(parts, whole, atol=1e-12, rtol=0)


@DECODERS
@AXES
def test_order_of_tokens_does_not_matter(cls, periodic):
    decoder, latent, y = make(cls, periodic), tokens(periodic), points(periodic)
    order = torch.randperm(latent.z.shape[1])
    moved = latent._replace(z=latent.z[:, order], pos=latent.pos[:, order])
    torch.testing.assert_close(decoder(moved, y), decoder(latent, y), atol=1e-11, rtol=0)
    swapped = latent._replace(
        z=latent.z[:, order]
    )  # the same codes in other places are another field
    assert (decoder(swapped, y) - decoder(latent, y)).abs().max() > 1e-5


@DECODERS
@AXES
def test_samples_do_not_see_each_other(cls, periodic):
    decoder, latent, y = make(cls, periodic), tokens(periodic), points(periodic)
    whole = decoder(latent, y)
    torch.testing.assert_close(
        decoder(latent._replace(z=latent.z[1:2]), y), whole[1:2], atol=1e-12, rtol=0
    )
    own = latent._replace(
        pos=latent.pos.expand(3, -1, -1)
    )  # tokens and queries of one's own instead of shared ones
    torch.testing.assert_close(decoder(own, y.expand(3, -1, -1)), whole, atol=1e-12, rtol=0)
    assert (whole[0] - whole[1]).abs().max() > 1e-4


@DECODERS
@AXES
def test_periodic_axes_close(cls, periodic):
    decoder, latent, y = make(cls, periodic), tokens(periodic), points(periodic)
    for axis, closed in enumerate(periodic):
        step = torch.zeros(len(periodic), dtype=y.dtype)
        step[axis] = 1.0
        if closed:
            torch.testing.assert_close(
                decoder(latent, y + step), decoder(latent, y), atol=1e-10, rtol=0
            )
        low, high = (torch.where(step > 0, edge, y) for edge in (-0.5 + 1e-9, 0.5 - 1e-9))
        jump = (decoder(latent, high) - decoder(latent, low)).abs().max()
        assert jump < 1e-5 if closed else jump > 1e-4


@DECODERS
def test_the_field_is_continuous(cls):
    """No step along a line is a large share of all that the answer moves."""
    periodic = (False, True)
    decoder, latent = make(cls, periodic), tokens(periodic)
    line = torch.stack(
        [torch.linspace(-0.5, 0.5, 2001), torch.linspace(-0.41, 0.47, 2001)], -1
    ).double()[None]
    with torch.no_grad():
        steps = decoder(latent, line).diff(dim=1).abs()
    assert steps.max() < 0.02 * (steps.sum(1).max() + 1e-3)


@DECODERS
def test_gradients_reach_every_parameter(cls):
    decoder, latent, y = (
        make(cls, (False, True), skip_features=CHANNELS),
        tokens((False, True)),
        points((False, True)),
    )
    skip_features = torch.randn(3, 40, CHANNELS).double()
    decoder(latent, y, None, skip_features).square().sum().backward()
    dead = [
        name
        for name, p in decoder.named_parameters()
        if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert not dead, f"no gradient reaches {dead}"


@DECODERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_inference_mode(cls, dtype):
    decoder, latent = make(cls, (False, True), CHANNELS, dtype), tokens((False, True), dtype=dtype)
    y, skip_features = points((False, True), dtype=dtype), torch.randn(3, 40, CHANNELS, dtype=dtype)
    expected = decoder(latent, y, None, skip_features)
    assert expected.dtype == dtype
    with torch.inference_mode():
        torch.testing.assert_close(decoder(latent, y, None, skip_features), expected)
    assert (expected - decoder(latent, y, None, skip_features.flip(1))).abs().max() > 1e-4


@DECODERS
def test_half_precision_stays_close(cls):
    decoder, latent, y = (
        f((False, True), dtype=torch.float32)
        for f in (lambda *a, **k: make(cls, *a, **k), tokens, points)
    )
    exact = decoder(latent, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = decoder(latent, y).float()
    assert (out - exact).norm() < 0.1 * exact.norm()


@DECODERS
def test_a_checkpoint_can_describe_it(cls):
    decoder = make(cls, (False, True), CHANNELS)
    again = rebuild(decoder.describe(), schema=schema((False, True)))
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in decoder.state_dict().items()
    }
