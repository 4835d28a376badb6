"""A law's own processor is the composition of its field and step by ``Flow``."""

from functools import partial

import pytest
import torch
from helpers.states import tokens
from helpers.walk import DIM, TOKENS, shake

from fields import flows
from fields.dynamics.energies.local import LocalEnergy
from fields.processors.flow import Flow

GRID = {"tokens": (TOKENS,)}
SAME = [
    (
        partial(flows.GradientFlow, **GRID, quartic=0.1, mobility=2.0),
        partial(
            flows.GradientFlowField, energy=partial(LocalEnergy, **GRID, quartic=0.1), mobility=2.0
        ),
        flows.BoundedRosenbrock,
    ),
    (
        partial(flows.StencilPortHamiltonian, **GRID, radius=2),
        partial(flows.StencilPortHamiltonianField, **GRID, radius=2),
        flows.ImplicitPortHamiltonianStep,
    ),
    (flows.DampedHamiltonian, flows.DampedHamiltonianField, flows.EnergyGuardedStep),
]


@pytest.mark.parametrize(("processor", "field", "step"), SAME, ids=["gradient", "port", "damped"])
@pytest.mark.parametrize("depth", [1, 2])
def test_it_has_the_weights_and_the_numbers_of_flow(processor, field, step, depth):
    made = []
    options = {"depth": depth, "steps": 2, "h": 0.5}
    for build in (processor, partial(Flow, field=field, integrator=step)):
        torch.manual_seed(0)
        made.append(build(DIM, **options).double())
    own, free = made
    assert list(own.state_dict()) == list(free.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), free.parameters(), strict=True))
    assert torch.equal(own(tokens()).z, free(tokens()).z)
    free.load_state_dict(shake(own).state_dict())
    assert torch.equal(own(tokens()).z, free(tokens()).z)
