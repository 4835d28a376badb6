"""Dropout silences neurons, is right on average, and can be held (PHYSICS §4 test 8)."""

import pytest
import torch
from torch import nn

from fields.nn.dropout import NeuronDropout, hold


def test_the_mean_over_masks_is_evaluation():
    layer, z, p = NeuronDropout(40, p=0.3), torch.randn(40), 0.3
    draws = 10_000
    mean = sum(layer(z) for _ in range(draws)) / draws
    sigma = z.abs() * (p * (1 - p) / draws) ** 0.5
    assert ((mean - layer.eval()(z)).abs() < 4.5 * sigma).all()


def test_a_neuron_is_silent_for_every_token():
    out = NeuronDropout(16, p=0.5)(torch.ones(3, 7, 16))
    assert (out == out[:1, :1]).all() and 0 < out.mean() < 1
    assert set(out.unique().tolist()) == {0.0, 1.0}


def test_held_masks_stay_and_are_released():
    net = nn.Sequential(nn.Linear(64, 64), NeuronDropout(64, p=0.5), nn.Linear(64, 1))
    z = torch.randn(5, 64)
    with hold(net):
        first = net(z)
        assert all((net(z) == first).all() for _ in range(5))
        with hold(net):
            assert (net(z) == first).all()
        assert (net(z) == first).all()
    assert any((net(z) != first).any() for _ in range(3))
    with hold(net):
        assert (net(z) != first).any()


def test_no_silence_without_probability():
    z = torch.randn(4, 8)
    assert (NeuronDropout(8, p=0.0)(z) == z).all()
    with pytest.raises(ValueError, match="p = 1"):
        NeuronDropout(8, p=1.0)
