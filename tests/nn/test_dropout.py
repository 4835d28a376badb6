"""Dropout of neurons has the right mean, and its masks can be held."""

import pytest
import torch
from torch import nn

from fields.nn.dropout import NeuronDropout, hold_dropout_masks


def test_the_mean_over_masks_is_evaluation():
    layer = NeuronDropout(8, p=0.3)
    z = torch.randn(8)
    p = 0.3
    draws = 100_000
    seen = torch.vmap(lambda _: layer(z), randomness="different")(torch.empty(draws))
    sigma = z.abs() * (p * (1 - p) / draws) ** 0.5
    assert ((seen.double().mean(0) - layer.eval()(z)).abs() < 4 * sigma).all()
    assert ((seen == 0) | (seen == z)).all() and len(
        seen.unique(dim=0)
    ) == 2**8  # each draw is one thinned network


def test_a_dropped_neuron_is_zero_for_every_token():
    out = NeuronDropout(16, p=0.5)(torch.ones(3, 7, 16))
    assert (out == out[:1, :1]).all() and 0 < out.mean() < 1
    assert set(out.unique().tolist()) == {0.0, 1.0}


def test_held_masks_stay_and_are_released():
    net = nn.Sequential(nn.Linear(64, 64), NeuronDropout(64, p=0.5), nn.Linear(64, 1))
    z = torch.randn(5, 64)
    with hold_dropout_masks(net):
        first = net(z)
        assert all((net(z) == first).all() for _ in range(5))
        with hold_dropout_masks(net):
            assert (net(z) == first).all()
        assert (net(z) == first).all()
    assert any((net(z) != first).any() for _ in range(3))
    with hold_dropout_masks(net):
        assert (net(z) != first).any()


def test_an_energy_stays_one_function_along_a_rollout():
    first = nn.Linear(16, 32).double()
    drop = NeuronDropout(32, p=0.5)
    energy = lambda z: drop(first(z).tanh()).square().sum()  # noqa: E731

    def rollout():
        z = torch.randn(5, 16).double()
        levels = []
        for _ in range(40):
            z = z.detach().requires_grad_()
            level = energy(z)
            levels.append(float(level.detach()))
            z = z - 0.02 * torch.autograd.grad(level, z)[0]
        return torch.tensor(levels)

    with hold_dropout_masks(drop):
        held = rollout()
    assert (held.diff() < 0).all() and held[-1] < 0.9 * held[0]
    assert (
        rollout().diff() > 0
    ).any()  # with a new mask at every step energy is created out of nothing


def test_nothing_is_dropped_at_probability_zero():
    z = torch.randn(4, 8)
    assert (NeuronDropout(8, p=0.0)(z) == z).all()
    with pytest.raises(ValueError, match="p = 1"):
        NeuronDropout(8, p=1.0)
