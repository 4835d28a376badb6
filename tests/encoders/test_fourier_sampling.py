"""`FourierSampling` and `FourierInterpolation` are exact on polynomials and orthogonal."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from problems import schema

from fields import decoders, encoders
from fields.core.sample import Schema
from fields.nn.embeddings import grid_points
from fields.nn.interpolation.fourier import product_basis, smoothing_fit_matrix

BOXES = pytest.mark.parametrize(
    ("counts", "closed"),
    [((9,), (True,)), ((8,), (True,)), ((7,), (False,)), ((6, 5), (True, False))],
)


def problem(closed: tuple[bool, ...], **changes) -> Schema:
    return replace(schema(closed), inputs=("u", "v", "c"), outputs=("u", "v"), **changes)


def mask(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def cloud(counts, points: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(1, points, len(counts), generator=g, dtype=torch.float64) - 0.5


def polynomial(counts, closed, seed: int = 1):
    """Three variables that are random combinations of all waves, as a function of the points."""
    size = torch.Size(counts).numel()
    a = torch.randn(2, size, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return lambda x: product_basis(x, counts, closed) @ a


@BOXES
def test_the_waves_are_orthonormal_over_the_centers(counts, closed):
    w = product_basis(grid_points(counts, torch.float64), counts, closed)
    torch.testing.assert_close(w @ w.T, torch.eye(len(w), dtype=w.dtype), atol=1e-13, rtol=0)


@BOXES
def test_polynomials_are_reproduced_from_any_points_at_any_points(counts, closed):
    f = polynomial(counts, closed)
    s = problem(closed)
    given = {"dim": 4, "schema": s, "tokens": counts, "channels": ("u", "c", "v", "")}
    encoder = encoders.FourierSampling(**given).double()
    decoder = decoders.FourierInterpolation(**given).double()
    for x in (
        grid_points(tuple(2 * n + 1 for n in counts), torch.float64)[None],
        cloud(counts, 40 * torch.Size(counts).numel()),
    ):
        latent = encoder(x, f(x), mask(x))
        torch.testing.assert_close(latent.z[..., [0, 2, 1]], f(latent.pos), atol=1e-4, rtol=0)
        assert not latent.z[..., 3].any()
        y = cloud(counts, 50, seed=3)
        torch.testing.assert_close(decoder(latent, y), f(y)[..., :2], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("counts", "closed"), [((16,), (True,)), ((6, 5), (True, False))])
def test_aligned_tokens_are_the_grid_values_and_centers_miss_the_highest_cosine(counts, closed):
    x = grid_points(counts, torch.float64)[None].clone()
    for axis, (count, periodic) in enumerate(zip(counts, closed, strict=True)):
        x[..., axis] -= 0.5 / count if periodic else 0  # a periodic grid begins on the bound
    u = torch.randn(
        2, x.shape[1], 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    for aligned in (True, False):
        given = {"dim": 3, "schema": problem(closed), "tokens": counts, "channels": ("u", "v", "c")}
        encoder = encoders.FourierSampling(**given, aligned=aligned).double()
        decoder = decoders.FourierInterpolation(**given).double()
        latent = encoder(x, u, mask(x))
        back = decoder(latent, x)
        if aligned:
            torch.testing.assert_close(latent.pos.expand_as(x), x, atol=1e-7, rtol=0)
            torch.testing.assert_close(latent.z, u, atol=1e-4, rtol=0)
            torch.testing.assert_close(back, u[..., :2], atol=1e-4, rtol=0)
        else:
            assert (back - u[..., :2]).abs().max() > 0.1


def test_tokens_preserve_inner_products():
    """∫ u v over the box is the mean over tokens, because the map is orthogonal."""
    counts = (9,)
    closed = (True,)
    f = polynomial(counts, closed)
    x = grid_points((400,), torch.float64)[None]
    z = encoders.FourierSampling(3, problem(closed), tokens=counts).double()(x, f(x), mask(x)).z
    integral = torch.einsum("bnc,bne->bce", f(x), f(x)) / 400
    torch.testing.assert_close(torch.einsum("bkc,bke->bce", z, z) / 9, integral, atol=1e-6, rtol=0)


def test_few_points_determine_the_longest_waves():
    x = grid_points((16,), torch.float64)[None]
    z = smoothing_fit_matrix(x, mask(x), (32,), (True,)) @ torch.cos(2 * torch.pi * 3 * x)
    torch.testing.assert_close(
        z, torch.cos(2 * torch.pi * 3 * grid_points((32,), torch.float64)[None]), atol=1e-2, rtol=0
    )


def test_masked_points_have_no_influence():
    f = polynomial((9,), (True,))
    encoder = encoders.FourierSampling(3, problem((True,)), tokens=(9,)).double()
    x = cloud((9,), 60)
    real = mask(x)
    u = f(x)
    real[:, 40:] = False
    masked = encoder(x, torch.where(real[..., None], u, 1e3), real)
    alone = encoder(x[:, :40], u[:, :40], real[:, :40])
    torch.testing.assert_close(masked.z, alone.z)


def test_settings_that_do_not_fit_are_refused():
    s = problem((True,))
    with pytest.raises(ValueError, match="tokens hold one frame, and 3 are given"):
        encoders.FourierSampling(3, replace(s, history=3))
    with pytest.raises(ValueError, match=r"channels \['u', 'p'\] for tokens of width 3"):
        encoders.FourierSampling(3, s, channels=("u", "p"))
    with pytest.raises(ValueError, match="width 2, of the variables"):
        encoders.FourierSampling(2, s)
    with pytest.raises(ValueError, match=r"holds \['v'\], so it cannot be decoded"):
        decoders.FourierInterpolation(2, s, channels=("u", "c"))
    latent = encoders.FourierSampling(3, s, tokens=(9,))(
        cloud((9,), 5), torch.zeros(1, 5, 3), torch.ones(1, 5) > 0
    )
    decoder = 16
    with pytest.raises(ValueError, match=r"decodes \(16,\) tokens, got 9"):
        decoders.FourierInterpolation(3, s, tokens=(decoder,))(latent, cloud((9,), 5))
