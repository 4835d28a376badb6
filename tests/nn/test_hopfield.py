"""Associative memories store, retrieve and learn patterns."""

import math

import pytest
import torch

from fields.nn.attention.multihead import Attention
from fields.nn.hopfield import modern as hopfield
from fields.nn.hopfield.binary import ExponentialMemory, HopfieldNetwork, PolynomialMemory
from fields.nn.hopfield.modern import (
    HopfieldLayer,
    PatternDensity,
    hopfield_energy,
    hopfield_energy_grad,
    retrieval_regime,
    retrieve,
)


def signs(*shape):
    return torch.randint(0, 2, shape).double() * 2 - 1


def flip(patterns, fraction):
    """Each pattern with exactly that fraction of its neurons turned over."""
    count = round(fraction * patterns.shape[-1])
    where = torch.rand_like(patterns).argsort(-1)[:, :count]
    return patterns.scatter(-1, where, -patterns.gather(-1, where))


def recalled(network, patterns, steps=5):
    states = flip(patterns, 0.1)
    for _ in range(steps):
        states = network.sweep(states)
    return (states == patterns).all(-1).double().mean().item()


def test_classical_capacity():
    torch.manual_seed(0)
    few = signs(10, 100)
    many = signs(30, 100)
    assert recalled(HopfieldNetwork(few), few) >= 0.95
    assert recalled(HopfieldNetwork(many), many) < 0.5


def test_classical_energy_never_rises():
    network = HopfieldNetwork(signs(8, 40), threshold=torch.randn(40).double())
    states = signs(50, 40)
    for step in (network.update, network.sweep):
        now = states
        for _ in range(4):
            before = network.energy(now)
            now = step(now)
            assert (network.energy(now) - before).max() <= 1e-9
        assert (now != states).any()
    still = HopfieldNetwork(torch.ones(1, 4).double())
    undecided = torch.tensor([[1.0, -1.0, 1.0, -1.0]]).double()  # no field at all: nothing moves
    assert (still.update(undecided) == undecided).all() and (
        still.sweep(undecided) == undecided
    ).all()


def test_polynomial_memory():
    torch.manual_seed(0)
    few = signs(40, 40)
    many = signs(200, 40)
    assert recalled(PolynomialMemory(few, power=3), few, steps=3) >= 0.95
    assert recalled(PolynomialMemory(many, power=3), many, steps=3) < 0.6
    states = signs(20, 40)
    two = PolynomialMemory(few, power=2)
    classical = HopfieldNetwork(few)
    assert torch.allclose(two.energy(states) * 40**2 / 2, classical.energy(states))


def test_exponential_memory():
    torch.manual_seed(0)
    patterns = signs(1000, 40)
    network = ExponentialMemory(patterns)
    some = patterns[:50]
    states = flip(some, 0.1)
    before = network.energy(states)
    states = network.sweep(states)
    assert (network.energy(states) <= before).all() and (states == some).all()


@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("damping", [0.3, 1.0, 1.9])
def test_continuous_energy_never_rises_and_its_gradient_is_right(beta, damping):
    patterns = torch.randn(1, 1, 12, 6).double()
    states = (2 * torch.randn(1, 1, 5, 6).double()).requires_grad_()
    mask = torch.rand(1, 1, 5, 12) > 0.3
    expected = torch.autograd.grad(
        hopfield_energy(states, patterns, beta=beta, mask=mask).sum(), states
    )[0]
    assert (
        hopfield_energy_grad(states, patterns, beta=beta, mask=mask) - expected
    ).abs().max() < 1e-12
    now = states.detach()
    for _ in range(30):
        before = hopfield_energy(now, patterns, beta=beta)
        slope = hopfield_energy_grad(now, patterns, beta=beta)
        now = retrieve(now, patterns, beta=beta, damping=damping)
        bound = damping * (1 - damping / 2) * slope.square().sum(-1)
        assert (hopfield_energy(now, patterns, beta=beta) - before + bound).max() < 1e-12
    with pytest.raises(ValueError, match=r"damping 3\.0"):
        retrieve(now, patterns, damping=3.0)


def test_one_step_retrieval_and_fixed_points():
    torch.manual_seed(0)
    patterns = torch.randn(1, 1, 10_000, 64).double()
    some = patterns[:, :, :50]
    error = lambda out: ((out - some).norm(dim=-1) / some.norm(dim=-1)).median()  # noqa: E731
    assert error(retrieve(some, patterns, beta=1.0)) < 1e-6
    assert error(retrieve(some, patterns)) > 0.5  # too hot: averages of many
    few = torch.randn(1, 1, 20, 16).double()
    end = retrieve(few + 0.1, few, beta=2.0, steps=500, tolerance=1e-13)
    assert hopfield_energy_grad(end, few, beta=2.0).norm(dim=-1).max() < 1e-12


def test_regimes_follow_the_temperature():
    torch.manual_seed(0)
    centers = torch.randn(4, 32).double()
    patterns = (centers[:, None] + 0.02 * torch.randn(4, 5, 32).double()).reshape(20, 32)
    kinds, numbers = zip(
        *(retrieval_regime(patterns, patterns, beta=b) for b in (1e-3, 1.0, 1e4)), strict=True
    )
    assert (kinds[0] == hopfield.GLOBAL).all() and (kinds[1] == hopfield.METASTABLE).all()
    assert (kinds[2] == hopfield.SINGLE).all()
    assert (numbers[0] > numbers[1]).all() and (numbers[1] > numbers[2]).all()
    assert (numbers[1] - 5).abs().max() < 0.5


def test_projected_retrieval_is_attention_iterated():
    attention = Attention(12, heads=3, dim_kv=7).double()
    module = HopfieldLayer(12, heads=3, dim_kv=7, steps=1).double()
    module.attention.load_state_dict(attention.state_dict())
    z = torch.randn(2, 5, 12).double()
    y = torch.randn(2, 9, 7).double()
    mask = torch.rand(2, 9) > 0.3
    assert (module(z, y, mask=mask) - attention(z, y, mask=mask)).abs().max() < 1e-12
    module.steps = 3
    more = module(z, y, mask=mask)
    assert (more - attention(z, y, mask=mask)).abs().max() > 1e-4


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_maximum_likelihood(beta):
    density = PatternDensity(5, patterns=7, beta=beta).double()
    states = torch.randn(30, 5).double()
    x = density.patterns
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=0.5 * beta * x.square().sum(-1)),
        torch.distributions.MultivariateNormal(x, torch.eye(5).double() / beta),
    )
    assert (density(states) - mixture.log_prob(states)).abs().max() < 1e-12
    expected = torch.autograd.grad(-density(states).mean(), x)[0]
    assert (density.loss_grad(states) - expected).abs().max() < 1e-12
    line = PatternDensity(1, patterns=3, beta=beta).double()
    s = torch.linspace(-30, 30, 20_001).double()[:, None]
    weight = torch.exp(-beta * hopfield_energy(s, line.patterns, beta=beta))
    assert (torch.trapezoid(weight, s[:, 0]).log() - line.log_partition()).abs() < 1e-10


def test_learning_finds_the_patterns_that_made_the_data():
    torch.manual_seed(0)
    truth = PatternDensity(2, patterns=3, beta=8.0).double()
    model = PatternDensity(2, patterns=3, beta=8.0).double()
    with torch.no_grad():
        angle = torch.arange(3) * 2 * math.pi / 3
        truth.patterns.copy_(2 * torch.stack([angle.cos(), angle.sin()], -1))
        model.patterns.copy_(truth.patterns + 0.5 * torch.randn(3, 2))
    data = truth.sample(500)
    start = -model(data).mean()
    for _ in range(200):
        with torch.no_grad():
            model.patterns -= 0.02 * model.loss_grad(data)
    assert -model(data).mean() < start - 0.1
    assert torch.cdist(model.patterns, truth.patterns).amin(0).max() < 0.1
