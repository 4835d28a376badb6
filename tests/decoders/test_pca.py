"""`PCA`, the decoder whose basis comes from the data."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from problems import schema
from test_decoder_conformance import points, tokens

from fields.decoders.pca import PCA

PERIODIC = (False, True)
GRID = (6, 8)


def grid(order: torch.Tensor | None = None) -> torch.Tensor:
    """Unevenly spaced nodes, the last axis fastest unless another order is given."""
    lines = torch.linspace(-0.5, 0.5, 6).double() ** 3 * 4, torch.arange(8).double() / 8 - 0.5
    y = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 2)
    return y if order is None else y[order]


def outputs(y: torch.Tensor, samples: int = 20) -> torch.Tensor:
    """A mean field and three patterns, of two variables."""
    g = torch.Generator().manual_seed(3)
    turn = 2 * math.pi * y[:, 1]
    patterns = torch.stack([turn.sin(), y[:, 0] * turn.cos(), y[:, 0]])
    shares = torch.randn(samples, 2, 3, generator=g).double()
    return torch.einsum("b o r, r n -> b n o", shares, patterns) + 1 + y[:, :1]


def fitted(order: torch.Tensor | None = None, components: int = 10, skip_features: int = 0) -> PCA:
    torch.manual_seed(0)
    s = dataclasses.replace(schema(PERIODIC), grid=GRID, outputs=("u", "w"))
    decoder = PCA(16, s, components=components, skip_features=skip_features).double()
    y = grid(order)
    decoder.fit(y[None], outputs(y))
    return decoder


def span_error(decoder: PCA, v: torch.Tensor, y: torch.Tensor) -> float:
    """How far answers v at points y are from v̄ + span φ."""
    basis = decoder.functions(y[None])[0].flatten(0, 1)
    left = (v.flatten(1) - basis[:, -1]).T
    coefficients = torch.linalg.lstsq(basis[:, :-1], left, driver="gelsd").solution
    return ((basis[:, :-1] @ coefficients - left).abs().max() / left.abs().max()).item()


def test_the_basis_spans_the_data_for_any_order_of_the_points():
    order = torch.randperm(48, generator=torch.Generator().manual_seed(1))
    decoder = fitted()
    shuffled = fitted(order)
    y = grid()
    # Three patterns, each in either variable.
    assert int((decoder.basis.directions.norm(dim=1) > 0.5).sum()) == 6
    fresh = outputs(y, 50)[20:]
    assert span_error(decoder, fresh, y) < 1e-9
    assert span_error(decoder, fresh + (7 * y[:, 1:]).cos(), y) > 0.1
    coefficients = decoder.basis.coefficients(outputs(y).flatten(1))
    torch.testing.assert_close(
        coefficients[:, :6].square().mean(0), torch.ones(6).double(), atol=1e-9, rtol=0
    )
    for axis, other in zip(decoder.axes, shuffled.axes, strict=True):
        torch.testing.assert_close(axis, other, atol=0, rtol=0)
    asked = points(PERIODIC)
    same = shuffled.functions(asked)[..., :6].abs(), decoder.functions(asked)[..., :6].abs()
    # Directions are determined up to their sign.
    torch.testing.assert_close(*same, atol=1e-9, rtol=0)


def test_fields_are_the_mean_plus_a_combination_of_the_basis_at_any_point():
    decoder = fitted()
    latent = tokens(PERIODIC)
    y = points(PERIODIC)
    out = decoder(latent, y)
    c = decoder.coefficients(latent)
    assert out.shape == (3, 40, 2) and out.std(0).min() > 1e-3
    assert span_error(decoder, out, y[0]) < 1e-9
    mean = decoder.functions(y)[0, ..., -1]
    decoder.coefficients = lambda *_: 3 * c
    torch.testing.assert_close(decoder(latent, y) - mean, 3 * (out - mean), atol=1e-12, rtol=0)
    decoder.coefficients = lambda *_: 0 * c
    nodes = grid()
    # Without the basis, the field at the nodes is the mean of the data.
    torch.testing.assert_close(
        decoder(latent, nodes[None])[1], outputs(nodes).mean(0), atol=1e-12, rtol=0
    )


def test_a_nonlinear_output_fails(monkeypatch):
    whole = PCA.forward
    monkeypatch.setattr(PCA, "forward", lambda *given: whole(*given) + 0.1 * whole(*given).square())
    with pytest.raises(AssertionError):
        test_fields_are_the_mean_plus_a_combination_of_the_basis_at_any_point()


def test_the_basis_is_stored_and_not_trained():
    decoder = fitted()
    assert not any("basis" in name for name, _ in decoder.named_parameters())
    again = PCA(
        16, dataclasses.replace(schema(PERIODIC), grid=GRID, outputs=("u", "w")), components=10
    ).double()
    again.load_state_dict(decoder.state_dict())
    latent = tokens(PERIODIC)
    y = points(PERIODIC)
    torch.testing.assert_close(again(latent, y), decoder(latent, y), atol=0, rtol=0)


def test_samples_without_common_nodes_are_refused():
    s = schema(PERIODIC)
    with pytest.raises(
        ValueError, match=r"points of this problem are scattered\. Use `BranchTrunk`"
    ):
        PCA(16, dataclasses.replace(s, grid=None))
    decoder = PCA(16, dataclasses.replace(s, grid=GRID))
    y = grid().float()
    with pytest.raises(
        ValueError,
        match=r"one grid of 6 x 8 nodes that all samples share, got 2 set\(s\) of 48 points",
    ):
        decoder.fit(torch.stack([y, y + 0.1]), torch.randn(2, 48, 1))
    with pytest.raises(ValueError, match=r"got 1 set\(s\) of 40 points"):
        decoder.fit(y[None, :40], torch.randn(2, 40, 1))
