"""Derivatives written by hand agree with differences, and every step is captured as one graph."""

from __future__ import annotations

import pytest
import torch

from fields.core.sample import Latent
from fields.dynamics.base import Context
from fields.dynamics.energies.attention import Memory
from fields.flows.associative import HopfieldField, HopfieldUpdate
from fields.flows.damped_hamiltonian import DampedHamiltonianField, EnergyGuardedStep
from fields.flows.double_bracket import CoupledBracket, DoubleBracketField, SplitBracket
from fields.flows.grand import (
    ExplicitDiffusion,
    ImplicitDiffusion,
    RandomWalkField,
    SymmetricGrandField,
    Uniformization,
)
from fields.flows.graph_hamiltonian import GraphHamiltonianField
from fields.flows.hamiltonian import HamiltonianField
from fields.flows.isometry import SkewAttentionField, SkewCayley
from fields.flows.metric_hamiltonian import MetricHamiltonianField
from fields.flows.metriplectic import MetriplecticField, MetriplecticStep
from fields.integrators.cayley import Cayley, EnergyScaledLeapfrog
from fields.integrators.verlet import EnergyProjectedVerlet
from fields.nn.attention.pairwise import EnergyAttentionFunction
from fields.nn.linear_solve import SymmetricSolve
from fields.processors.block import FlowBlock

STEPS = [
    (HamiltonianField, EnergyProjectedVerlet),
    (DampedHamiltonianField, EnergyGuardedStep),
    (RandomWalkField, ExplicitDiffusion),
    (SymmetricGrandField, ImplicitDiffusion),
    (SymmetricGrandField, Uniformization),
    (GraphHamiltonianField, Cayley),
    (GraphHamiltonianField, EnergyScaledLeapfrog),
    (DoubleBracketField, SplitBracket),
    (DoubleBracketField, CoupledBracket),
    (MetriplecticField, MetriplecticStep),
    (MetricHamiltonianField, Cayley),
    (SkewAttentionField, SkewCayley),
    (HopfieldField, HopfieldUpdate),
]


@pytest.mark.parametrize("shared", [True, False])
def test_attention_of_an_energy(shared):
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    g = torch.randn(1 if shared else 2, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    total, u, w = EnergyAttentionFunction.apply(q, k, g)
    score = q @ k.mT + g
    torch.testing.assert_close(total, score.logsumexp(-1), atol=1e-13, rtol=1e-13)
    torch.testing.assert_close(u, score.softmax(-1) @ k, atol=1e-13, rtol=1e-13)
    torch.testing.assert_close(w, score.softmax(-1).mT @ q, atol=1e-13, rtol=1e-13)
    assert torch.autograd.gradcheck(EnergyAttentionFunction.apply, (q, k, g))


def test_total_is_finite_for_huge_scores():
    q = torch.full((1, 1, 3, 2), 100.0)
    total, _, _ = EnergyAttentionFunction.apply(
        q, q * torch.tensor([1.0, -1.0, 0.0])[:, None], torch.zeros(1, 1, 3, 3)
    )
    torch.testing.assert_close(total, torch.full((1, 1, 3), 2e4))


def test_memory_of_an_energy():
    torch.manual_seed(0)
    u = (5 * torch.randn(2, 3, 4, dtype=torch.float64)).requires_grad_()
    total, s = Memory.apply(u)
    torch.testing.assert_close(
        total, torch.nn.functional.logsigmoid(u).sum(1), atol=1e-13, rtol=1e-13
    )
    torch.testing.assert_close(s, u.sigmoid(), atol=0, rtol=0)
    assert torch.autograd.gradcheck(Memory.apply, u)
    assert all(x.isfinite().all() for x in Memory.apply(torch.tensor([[[-1e4, 1e4]]])))


def test_solve_of_a_symmetric_function():
    torch.manual_seed(0)
    d, b = (torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(
        lambda d, b: SymmetricSolve.apply(torch.eye(4, dtype=torch.float64) + d @ d.mT, b), (d, b)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("field", "integrator"), STEPS, ids=lambda c: c.__name__)
def test_a_step_is_one_graph(field, integrator):
    torch._dynamo.reset()
    torch.manual_seed(0)
    latent = Latent(torch.randn(2, 6, 16), torch.rand(1, 6, 2) - 0.5, torch.tensor([True, False]))
    context, block = Context.of(latent), FlowBlock(field=field(16), integrator=integrator())
    with torch.no_grad():
        state = block.field.lift(latent.z, context)
        carry = block.begin(state, context)

    def run(advance):
        x = state.clone().requires_grad_()
        out, _ = advance(x, carry, context)
        gradients = torch.autograd.grad(
            out.square().sum(), [x, *block.field.parameters()], allow_unused=True
        )
        return out.detach(), *(g for g in gradients if g is not None)

    compiled = torch.compile(block.advance, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(run(compiled), run(block.advance), atol=1e-5, rtol=1e-5)
