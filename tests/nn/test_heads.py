"""Heads learn different functions."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import fields
from fields.nn.attention.capture import capture_attention
from fields.nn.attention.multihead import Attention


def apart(weights):
    """Smallest total variation distance of two heads, mean over queries, from 0 to 1."""
    pairs = itertools.combinations(weights.unbind(1), 2)
    return min(float((a - b).abs().sum(-1).mean() / 2) for a, b in pairs)


def trained(layer, x, *, steps=20, rate=0.01):
    """Learn two sums: of the neighbors to the right, and of tokens marked by their channel 0."""
    torch.manual_seed(1)
    near = ((x[:, None, :, 0] - x[:, :, None, 0] - 0.2).abs() < 0.1).float()
    for _ in range(steps):
        z = torch.randn(8, x.shape[1], 8)
        target = torch.cat([near @ z[..., :4], (z[..., :1] > 1).float() * z[..., 4:]], dim=-1)
        loss = (layer(z, z, x_q=x, x_k=x, periodic=torch.tensor([False])) - target).square().mean()
        grads = torch.autograd.grad(loss, tuple(layer.parameters()))
        with torch.no_grad():
            for p, g in zip(layer.parameters(), grads, strict=True):
                p -= rate * g.sign()
    return layer.weights(z, z, x_q=x, x_k=x, periodic=torch.tensor([False])).detach()


def tie(layer):
    """All heads start as the first one."""
    with torch.no_grad():
        for linear, parts in ((layer.query, 1), (layer.key_value, 2)):
            for p in linear.parameters():
                split = p.view(parts, layer.heads, -1, *p.shape[1:])
                split.copy_(split[:, :1].clone().expand_as(split))
        split = layer.out.weight.view(len(layer.out.weight), layer.heads, -1)
        split.copy_(split[:, :1].clone().expand_as(split))
    return layer


@pytest.mark.parametrize("lengths", [None, (0.3, 0.3), (0.1, 0.5)])
def test_heads_differ_after_training(lengths):
    x = torch.linspace(-0.5, 0.5, 12)[None, :, None]
    build = lambda: Attention(8, heads=4, lengths=lengths, max_frequency=2.0)  # noqa: E731
    assert apart(trained(build(), x)) > 0.05
    if lengths != (
        0.1,
        0.5,
    ):  # the control: heads that start alike stay alike, and the measure sees it
        assert apart(trained(tie(build()), x)) < 1e-5


def test_heads_of_a_shipped_model_differ_in_every_layer():
    model = fields.load("darcy16")
    x = torch.arange(16) / 16
    soft = nn.functional.avg_pool2d(torch.randn(3, 1, 20, 20), 5, stride=1)[:, 0] > 0
    ds = xr.Dataset(
        {"input": (("sample", "x", "y"), np.asarray(soft))}, coords={"x": x.numpy(), "y": x.numpy()}
    )
    with capture_attention(
        model, lambda layer, *args, **kwargs: layer.weights(*args, **kwargs)
    ) as seen:
        model.predict(ds)
    assert len(seen) == 7  # encoder, skip path, four layers of the processor, decoder
    for name, calls in seen.items():
        assert (calls[0].sum(-1) - 1).abs().max() < 1e-5, name
        assert apart(calls[0]) > 0.05, name
