"""Energies of memories: gradients in closed form, and a law that holds at every step."""

import pytest
import torch

from fields.core.sample import Latent
from fields.dynamics.base import Context
from fields.dynamics.energies.energy_transformer import EnergyTransformer
from fields.flows.associative import Associative, HopfieldField, HopfieldUpdate, PatternEnergy
from fields.flows.grand import RandomWalkField
from fields.flows.hamiltonian import HamiltonianField
from fields.integrators.explicit import Euler
from fields.integrators.verlet import EnergyProjectedVerlet
from fields.nn.hopfield import modern as hopfield

DIM = 12


def latent(k=7, dtype=torch.float64):
    return Latent(
        torch.randn(2, k, DIM).to(dtype),
        torch.rand(1, k, 2).to(dtype) - 0.5,
        torch.tensor([True, False]),
    )


def shaken(module, size=0.3):
    with torch.no_grad():
        for p in module.parameters():
            p += size * torch.randn_like(p)
    return module


@pytest.mark.parametrize("kind", [PatternEnergy, EnergyTransformer])
@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("placed", [True, False])
def test_gradient_is_that_of_the_energy(kind, k, placed):
    energy = shaken(kind(DIM, heads=3).double())
    tokens = latent(k)
    cond = torch.randn(2, DIM).double()
    context = Context.of(tokens, cond) if placed else Context()
    z = tokens.z.requires_grad_()
    expected = torch.autograd.grad(energy(z, context).sum(), z)[0]
    with torch.inference_mode():
        assert (energy.grad(z, context) - expected).abs().max() < 1e-11


def test_one_head_without_surroundings_is_a_hopfield_network():
    energy = PatternEnergy(DIM, heads=1, patterns=20).double()
    z = latent().z
    with torch.no_grad():
        energy.view.copy_(torch.eye(DIM)[None])
    expected = hopfield.hopfield_energy(z, energy.patterns[0]).sum(-1)
    assert (energy(z) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("h", [0.3, 1.0, 2.0, 50.0])
def test_retrieval_never_raises_the_energy(h):
    field = shaken(HopfieldField(DIM, heads=3).double(), 1.0)
    step = HopfieldUpdate()
    tokens = latent()
    context = Context.of(tokens)
    z = 5 * tokens.z
    for _ in range(50):
        new, _ = step.step(field, 0.0, h, z, context, ())
        bound = min(h, 2) * (1 - min(h, 2) / 2) * field(0.0, z, context).square().sum((-2, -1))
        rise = field.energy(new, context) - field.energy(z, context) + bound
        assert rise.max() < 1e-11 * field.energy(z, context).abs().max()
        z = new
    assert (z - 5 * tokens.z).norm() > 0.1 * z.norm()


def test_the_processor_keeps_the_law_and_others_are_refused():
    processor = shaken(Associative(DIM, heads=3, steps=20).double())
    tokens = latent()
    states = list(processor.flow_states(tokens))
    energies = torch.stack(
        [processor.blocks[m.block].field.energy(m.state, m.context) for m in states]
    )
    assert len(states) == 21 and (energies.diff(dim=0) <= 1e-12 * energies.abs().max()).all()
    assert (energies[0] - energies[-1]).min() > 0.1
    assert (processor(tokens).z - states[-1].state).abs().max() == 0
    with pytest.raises(
        ValueError, match=r"`Euler` cannot step `HopfieldField` .* Use `HopfieldUpdate`"
    ):
        Euler().law(HopfieldField(DIM))
    with pytest.raises(ValueError, match="cannot step"):
        HopfieldUpdate().law(RandomWalkField(DIM))


def test_a_hamiltonian_moves_in_the_landscape_of_the_energy_transformer():
    field = shaken(
        HamiltonianField(DIM, energy=lambda c: EnergyTransformer(c, heads=2)).double(), 0.1
    )
    tokens = latent()
    step = EnergyProjectedVerlet()
    context = Context.of(tokens)
    z = tokens.z
    start = field.energy(z, context)
    carry = step.init(field, z, context)
    for _ in range(200):
        z, carry = step.step(field, 0.0, 0.1, z, context, carry)
    drift = (field.energy(z, context) - start).abs() / field.kinetic(tokens.z.chunk(2, -1)[1])
    assert drift.max() < 1e-12 and (z - tokens.z).norm() > 0.1 * tokens.z.norm()
