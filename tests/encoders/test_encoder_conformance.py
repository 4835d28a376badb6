"""The contract of `fields.encoders.base.Encoder`, checked for every encoder in the package."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch
from problems import schema
from walking import concrete_subclasses, each

import fields.encoders
from fields.core.component import build
from fields.core.sample import Latent
from fields.encoders.base import Encoder
from fields.encoders.cross_attention_encoder import CrossAttentionEncoder
from fields.encoders.windowed_moments import WindowedMoments
from fields.nn.embeddings import grid_points

DIM = 16
POINTS = 8  # per axis of the training grid that `schema` states
ANCHORS = ((5,), (3, 4), (2, 3, 2))  # on a line, in the plane, in space
PERIODIC = [(True,), (False, True), (False, True, False)]

ENCODERS = each(fields.encoders, Encoder)
AXES = pytest.mark.parametrize("periodic", PERIODIC, ids=["1D", "2D", "3D"])


def make(cls: type[Encoder], periodic: tuple[bool, ...], dtype=torch.float64) -> Encoder:
    """The encoder with few tokens, and with parameters that start at zero moved away from it."""
    torch.manual_seed(0)
    small = "tokens" in inspect.signature(cls).parameters
    options = {"tokens": ANCHORS[len(periodic) - 1]} if small else {}
    encoder = cls(DIM, schema(periodic), **options).to(dtype)
    with torch.no_grad():
        for p in encoder.parameters():
            p += 0.1 * torch.randn_like(p)
    return encoder


def grid(periodic: tuple[bool, ...], dtype=torch.float64) -> torch.Tensor:
    """The training grid, (1 n d)."""
    return grid_points((POINTS,) * len(periodic), torch.float64)[None].to(dtype)


def scattered(periodic: tuple[bool, ...]) -> torch.Tensor:
    """As many random points."""
    g = torch.Generator().manual_seed(2)
    d = len(periodic)
    return torch.rand(1, POINTS**d, d, generator=g, dtype=torch.float64) - 0.5


def values(x: torch.Tensor, samples: int = 3) -> torch.Tensor:
    """Random smooth functions of the points, (b n 1)."""
    g = torch.Generator().manual_seed(1)
    slope, turn = (torch.randn(samples, x.shape[-1], generator=g).to(x) for _ in range(2))
    return (x @ slope.T + torch.sin(3 * x @ turn.T))[0].T[..., None]


def real(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def encode_or_refuse(encoder: Encoder, x, u, mask, cond=None) -> Latent | None:
    """The tokens, or None if the encoder refuses this input and names an alternative."""
    try:
        return encoder(x, u, mask, cond)
    except ValueError as error:
        assert "se " in str(error) and str(error).endswith("."), f"no alternative in: {error}"
        return None


def distance(a: Latent, b: Latent) -> float:
    """Largest difference of tokens after they were matched by position, periodic axes closed."""
    shape = (len(a.z), -1, -1)
    offset = a.pos.expand(*shape)[:, :, None] - b.pos.expand(*shape)[:, None]
    offset = torch.where(a.periodic, offset - offset.round(), offset).norm(dim=-1)
    nearest = offset.argmin(-1)
    assert offset.amin(-1).max() < 1e-6
    return (a.z - torch.take_along_dim(b.z, nearest[..., None], 1)).abs().max().item()


@ENCODERS
@AXES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_types_and_positions(cls, periodic, dtype):
    encoder = make(cls, periodic, dtype)
    x = grid(periodic, dtype)
    latent = encoder(x, values(x), real(x))
    count = encoder.num_tokens(x.shape[1])
    assert latent.z.shape == (3, count, DIM) and latent.z.dtype == dtype
    assert latent.pos.shape in [(1, count, len(periodic)), (3, count, len(periodic))]
    assert latent.pos.dtype == dtype and latent.pos.abs().max() <= 0.5
    assert latent.periodic.tolist() == list(periodic)
    assert latent.z.isfinite().all() and (latent.z[0] - latent.z[1]).abs().max() > 1e-3
    with torch.inference_mode():
        torch.testing.assert_close(encoder(x, values(x), real(x)).z, latent.z)


@ENCODERS
def test_gradients_reach_every_parameter_and_are_those_of_finite_differences(cls):
    periodic = (False, True)
    encoder = make(cls, periodic)
    x = grid(periodic)
    u = values(x).requires_grad_()
    cond = torch.randn(3, DIM, dtype=torch.float64)
    out = encoder(x, u, real(x), cond).z
    # Weighted: layers that end in a LayerNorm have a constant sum of squares.
    (out * torch.randn_like(out)).sum().backward()
    dead = [
        name
        for name, p in encoder.named_parameters()
        if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert not dead, f"no gradient reaches {dead}"
    assert u.grad is not None and u.grad.abs().max() > 0
    assert torch.autograd.gradcheck(
        lambda u: encoder(x, u, real(x), cond).z, u.detach().requires_grad_(), fast_mode=True
    )


@ENCODERS
@AXES
def test_samples_do_not_influence_each_other(cls, periodic):
    encoder = make(cls, periodic)
    x = grid(periodic)
    u = values(x)
    cond = torch.randn(3, DIM, dtype=torch.float64)
    whole = encoder(x, u, real(x), cond)
    single = encoder(x, u[1:2], real(x), cond[1:2])
    torch.testing.assert_close(single.z, whole.z[1:2], atol=1e-12, rtol=0)


@ENCODERS
@AXES
@pytest.mark.parametrize("points", [grid, scattered])
def test_the_order_of_points_does_not_matter(cls, periodic, points):
    encoder = make(cls, periodic)
    x = points(periodic)
    u = values(x)
    latent = encode_or_refuse(encoder, x, u, real(x))
    assert latent is not None or points is scattered, "the training grid is refused"
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(3))
    moved = encode_or_refuse(encoder, x[:, order], u[:, order], real(x))
    if latent is not None and moved is not None:
        assert distance(moved, latent) < 1e-11


@ENCODERS
@pytest.mark.parametrize("periodic", PERIODIC[1:], ids=["2D", "3D"])
def test_a_grid_may_be_stored_in_any_order_of_its_axes(cls, periodic):
    encoder = make(cls, periodic)
    x = grid(periodic)
    u = values(x)
    swap = torch.arange(x.shape[1]).reshape((POINTS,) * len(periodic)).mT.reshape(-1)
    assert distance(encoder(x[:, swap], u[:, swap], real(x)), encoder(x, u, real(x))) < 1e-11


@ENCODERS
@AXES
def test_positions_of_the_points_matter(cls, periodic):
    encoder = make(cls, periodic)
    x = grid(periodic)
    u = values(x)
    before = encoder(x, u, real(x))
    mirrored = x.clone()
    mirrored[..., 0] *= -1
    after = encoder(mirrored, u, real(x))
    assert distance(after, before) > 1e-3


@ENCODERS
@AXES
@pytest.mark.parametrize("points", [grid, scattered])
def test_a_point_moved_by_a_period_is_the_same_point(cls, periodic, points):
    encoder = make(cls, periodic)
    x = points(periodic)
    u = values(x)
    latent = encode_or_refuse(encoder, x, u, real(x))
    moved = encode_or_refuse(encoder, x + torch.tensor(periodic).to(x), u, real(x))
    if latent is not None and moved is not None:
        assert distance(moved, latent) < 1e-8


@ENCODERS
@AXES
@pytest.mark.parametrize("points", [grid, scattered])
def test_padding_has_no_influence(cls, periodic, points):
    encoder = make(cls, periodic)
    x = points(periodic).expand(3, -1, -1)
    u = values(x)
    latent = encode_or_refuse(encoder, x, u, real(x))
    mask = torch.cat([real(x), torch.zeros(3, 4, dtype=torch.bool)], 1)
    for junk in (0.0, 100.0):
        padded = encode_or_refuse(
            encoder,
            torch.cat([x, torch.full_like(x[:, :4], junk / 1000)], 1),
            torch.cat([u, torch.full_like(u[:, :4], junk)], 1),
            mask,
        )
        if latent is not None and padded is not None:
            assert distance(padded, latent) < 1e-9


def test_scattered_and_padded_points_are_read_by_some_encoders():
    """The tests above accept a refusal; this one makes sure that they also compare tokens."""
    reading = set()
    for cls in concrete_subclasses(fields.encoders, Encoder):
        x = scattered((True,)).expand(3, -1, -1)
        mask = real(x).clone()
        mask[1, 5:] = False
        if encode_or_refuse(make(cls, (True,)), x, values(x), mask) is not None:
            reading.add(cls.__name__)
    assert {"CrossAttentionEncoder", "FourierSampling", "MultiInput"} <= reading


@ENCODERS
def test_an_encoder_that_was_fixed_to_its_points_gives_the_same_tokens(cls):
    periodic = (False, True)
    encoder = make(cls, periodic)
    x = grid(periodic)
    before = encoder(x, values(x), real(x)).z
    encoder.fix(x)
    torch.testing.assert_close(encoder(x, values(x), real(x)).z, before, atol=0, rtol=0)


@ENCODERS
def test_a_checkpoint_reproduces_it(cls):
    periodic = (False, True)
    encoder = make(cls, periodic)
    x = grid(periodic)
    expected = encoder(x, values(x), real(x))
    torch.manual_seed(1)
    again = build(encoder.describe(), schema=schema(periodic)).double()
    again.load_state_dict(encoder.state_dict())
    found = again(x, values(x), real(x))
    torch.testing.assert_close(found.z, expected.z, atol=0, rtol=0)
    torch.testing.assert_close(found.pos, expected.pos, atol=0, rtol=0)
    assert again.describe() == encoder.describe()


@ENCODERS
def test_the_constructor_takes_dim_schema_and_optional_keywords(cls):
    parameters = list(inspect.signature(cls).parameters.values())
    assert [p.name for p in parameters[:2]] == ["dim", "schema"]
    assert all(
        p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is not inspect.Parameter.empty
        for p in parameters[2:]
    )


def counted(self, x, u, x_mask, cond=None):
    """Depends on the order of the points."""
    rank = torch.arange(u.shape[1])[None, :, None].to(u)
    return WHOLE(self, x, u + 0.01 * rank, x_mask, cond)


def unmasked(self, x, u, x_mask, cond=None):
    """Reads padding."""
    return WHOLE(self, x, u, torch.ones_like(x_mask), cond)


def coupled(self, x, u, x_mask, cond=None):
    """Lets samples influence each other."""
    return WHOLE(self, x, u + 0.01 * u.mean(0, keepdim=True), x_mask, cond)


WHOLE = CrossAttentionEncoder.forward
BROKEN = [
    (
        counted,
        lambda: test_the_order_of_points_does_not_matter(CrossAttentionEncoder, (True,), grid),
    ),
    (unmasked, lambda: test_padding_has_no_influence(CrossAttentionEncoder, (True,), grid)),
    (coupled, lambda: test_samples_do_not_influence_each_other(CrossAttentionEncoder, (True,))),
]


@pytest.mark.parametrize(("broken", "check"), BROKEN, ids=lambda f: f.__name__)
def test_an_encoder_that_breaks_the_contract_fails(monkeypatch, broken, check):
    monkeypatch.setattr(CrossAttentionEncoder, "forward", broken)
    with pytest.raises(AssertionError):
        check()


@ENCODERS
@AXES
def test_missing_values_on_a_grid_have_no_influence_or_are_refused(cls, periodic):
    encoder = make(cls, periodic)
    x = grid(periodic)
    u = values(x)
    mask = torch.rand(1, x.shape[1], generator=torch.Generator().manual_seed(3)) > 0.3
    latent = encode_or_refuse(encoder, x, u, mask)
    if latent is None:
        return
    assert latent.z.isfinite().all()
    spoiled = torch.where(mask[..., None], u, 1e3)
    torch.testing.assert_close(encoder(x, spoiled, mask).z, latent.z, rtol=0, atol=1e-12)
    # The values that are there do have an influence.
    assert (encoder(x, u * mask[..., None] * 2, mask).z - latent.z).abs().max() > 1e-3


@ENCODERS
@AXES
def test_missing_values_that_differ_among_samples(cls, periodic):
    encoder = make(cls, periodic)
    x = grid(periodic)
    u = values(x)
    mask = torch.rand(3, x.shape[1], generator=torch.Generator().manual_seed(4)) > 0.3
    latent = encode_or_refuse(encoder, x, u, mask)
    if latent is None:
        return
    for i in range(3):
        alone = encoder(x, u[[i]], mask[[i]])
        torch.testing.assert_close(latent.z[[i]], alone.z, rtol=0, atol=1e-10)


def test_windowed_moments_are_means_over_the_points_that_have_a_value():
    """The equation of the class, summed point by point."""
    count = 4
    order = 3
    encoder = WindowedMoments(DIM, schema((False, True)), tokens=(count, count), moments=order)
    x = grid((False, True))
    u = values(x, 1)
    mask = torch.rand(1, x.shape[1], generator=torch.Generator().manual_seed(5)) > 0.4
    found = encoder.double()._moments(x, u, mask).reshape(count, count, order, order)
    centers = (torch.arange(count, dtype=torch.float64) + 0.5) / count - 0.5
    for i, j in itertools.product(range(count), repeat=2):
        offset = x[0] - torch.stack([centers[i], centers[j]])
        offset[:, 1] -= offset[:, 1].round()
        r = (offset * count).clamp(-1, 1)
        weight = torch.cos(torch.pi / 2 * r).square().prod(-1) * mask[0]
        for p, q in itertools.product(range(order), repeat=2):
            basis = torch.cos(p * r[:, 0].arccos()) * torch.cos(q * r[:, 1].arccos())
            moment = (weight * basis * u[0, :, 0]).sum() / weight.sum()
            torch.testing.assert_close(found[i, j, p, q], moment, rtol=0, atol=1e-10)
