"""Properties of the conditional neural field: points, tokens, grids and periods."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import operator, waves

from fields.core.sample import Sample, collate
from fields.data import FieldDataset, points_of, schema_of
from fields.encoders.cross_attention_encoder import CrossAttentionEncoder
from fields.encoders.windowed_moments import WindowedMoments

CASES = [((True,), (24,)), ((False, True), (7, 8)), ((False, False, True), (4, 5, 6))]


def batch_of(model, sizes, periodic, samples=3):
    ds = waves(samples, sizes, periodic)
    data = FieldDataset(ds, model.schema)
    return collate([data[i] for i in range(samples)])


@pytest.mark.parametrize(("periodic", "sizes"), CASES)
@pytest.mark.parametrize("encoder", [CrossAttentionEncoder, WindowedMoments])
def test_decoding_in_chunks_is_decoding_at_once(periodic, sizes, encoder):
    model = operator(periodic, encoder=encoder)
    batch = batch_of(model, sizes, periodic)
    with torch.no_grad():
        whole = model(batch)
        parts = torch.cat(
            [
                model(batch._replace(y=batch.y[:, i : i + 5], y_mask=batch.y_mask[:, i : i + 5]))
                for i in range(0, batch.y.shape[1], 5)
            ],
            2,
        )
    torch.testing.assert_close(parts, whole, atol=1e-6 * float(whole.abs().max()), rtol=0)
    assert whole.std() > 1e-3


@pytest.mark.parametrize(("periodic", "sizes"), CASES)
def test_order_of_input_points_does_not_matter(periodic, sizes):
    model = operator(periodic).double()
    batch = to_double(batch_of(model, sizes, periodic))
    order = torch.randperm(batch.x.shape[1])
    moved = batch._replace(x=batch.x[:, order], u=batch.u[:, order], x_mask=batch.x_mask[:, order])
    with torch.no_grad():
        torch.testing.assert_close(model(moved), model(batch), atol=1e-11, rtol=0)


@pytest.mark.parametrize(("periodic", "sizes"), CASES)
def test_order_of_tokens_does_not_matter(periodic, sizes):
    model = operator(periodic).double()
    batch = to_double(batch_of(model, sizes, periodic))
    with torch.no_grad():
        latent = model.encoder(
            model.normalizer.points(batch.x), model.normalizer.inputs(batch.u), batch.x_mask
        )
        order = torch.randperm(latent.z.shape[1])
        moved = latent._replace(z=latent.z[:, order], pos=latent.pos[:, order])
        rest = (batch.x, batch.u, batch.x_mask, batch.y)
        straight, shuffled = (
            model.decode(model.processor(code), *rest) for code in (latent, moved)
        )
    torch.testing.assert_close(shuffled, straight, atol=1e-11, rtol=0)


@pytest.mark.parametrize("encoder", [CrossAttentionEncoder, WindowedMoments])
def test_shifts_by_token_spacings_commute_on_periodic_axes(encoder):
    model = operator((True,), encoder=encoder).double()
    batch = to_double(batch_of(model, (24,), (True,)))
    # The first shift is by the spacing of the four anchors.
    quarter = batch._replace(x=(batch.x + 0.25) % 1, y=(batch.y + 0.25) % 1)
    odd = batch._replace(x=(batch.x + 0.1) % 1, y=(batch.y + 0.1) % 1)
    with torch.no_grad():
        torch.testing.assert_close(model(quarter), model(batch), atol=1e-10, rtol=0)
        # Between anchors only training makes the model commute with shifts.
        assert not torch.allclose(model(odd), model(batch), atol=1e-6)


def test_tokens_depend_on_the_function_and_not_on_its_sampling():
    """With half the points of a smooth function the tokens change by the quadrature error.

    That of Gaussian means is below 1 % here.
    """
    model = operator((True,)).double()
    fine, coarse = (to_double(batch_of(model, (n,), (True,))) for n in (128, 64))
    code = [
        model.encoder(model.normalizer.points(b.x), model.normalizer.inputs(b.u), b.x_mask).z
        for b in (fine, coarse)
    ]
    assert (code[0] - code[1]).norm() / code[0].norm() < 0.01
    assert (code[0][0] - code[0][1]).norm() / code[0].norm() > 0.05  # other functions, other tokens


@pytest.mark.parametrize("sizes", [(8, 8), (9, 7), (15, 16), (33, 5)])
@pytest.mark.parametrize("encoder", [CrossAttentionEncoder, WindowedMoments])
def test_odd_and_even_grids(sizes, encoder):
    model = operator((False, True), encoder=encoder)
    out = model(batch_of(model, sizes, (False, True)))
    assert out.shape == (3, 1, sizes[0] * sizes[1], 1)
    assert torch.isfinite(out).all()


def test_windowed_moments_read_axes_in_any_order_and_refuse_scattered_points():
    model = operator((False, False), encoder=WindowedMoments).double()
    batch = to_double(batch_of(model, (6, 5), (False, False)))
    swap = torch.arange(30).reshape(6, 5).T.reshape(-1)
    with torch.no_grad():
        swapped = model(batch._replace(x=batch.x[:, swap], u=batch.u[:, swap]))
        torch.testing.assert_close(swapped, model(batch), atol=1e-11, rtol=0)
    with pytest.raises(ValueError, match="Use `CrossAttentionEncoder`"):
        model(batch._replace(x=batch.x + 0.1 * torch.rand_like(batch.x)))


def test_masked_points_have_no_effect():
    model = operator((False, False)).double()
    batch = to_double(batch_of(model, (6, 5), (False, False)))
    padded = batch._replace(
        x=torch.cat([batch.x, torch.rand(1, 4, 2)], 1),
        u=torch.cat([batch.u, 1e3 * torch.ones(3, 4, 1)], 1),
        x_mask=torch.cat([batch.x_mask, torch.zeros(1, 4, dtype=torch.bool)], 1),
    )
    with torch.no_grad():
        torch.testing.assert_close(model(padded), model(batch), atol=1e-11, rtol=0)


def test_every_parameter_gets_a_gradient():
    for encoder in (CrossAttentionEncoder, WindowedMoments):
        model = operator((False, True), encoder=encoder)
        model(batch_of(model, (8, 8), (False, True))).square().sum().backward()
        # A bias on keys shifts all scores of a query alike: its gradient is zero by construction
        dead = [
            n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0
        ]
        assert dead == []


def test_coordinates_are_kept_as_stored():
    ds = waves(2, (5, 4), (False, True)).assign_coords(
        x=("x", np.array([0.0, 0.1, 0.35, 0.5, 1.0]), {"bounds": (0.0, 1.0), "periodic": 0})
    )
    points = points_of(ds, schema_of(ds))
    assert sorted({float(v) for v in points[:, 0]}) == [float(np.float32(v)) for v in ds.x.values]
    assert sorted({float(v) for v in points[:, 1]}) == [0.0, 0.25, 0.5, 0.75]


def to_double(batch: Sample) -> Sample:
    return Sample(*(part.double() if part.is_floating_point() else part for part in batch))
