"""Broken laws, each one small change of a formula: the verifier finds every one of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from helpers.states import tokens
from helpers.walk import TOKENS, build

from fields.dynamics.energies.local import LocalEnergy
from fields.evaluation.verify import verify
from fields.flows.associative import Associative, HopfieldField
from fields.flows.damped_hamiltonian import DampedHamiltonian, EnergyGuardedStep
from fields.flows.double_bracket import DoubleBracket
from fields.flows.gradient_flow import BoundedRosenbrock, GradientFlow
from fields.flows.grand import ExplicitDiffusion, Grand, SymmetricGrandField
from fields.flows.graph_hamiltonian import GraphHamiltonian
from fields.flows.hamiltonian import Hamiltonian, HamiltonianField
from fields.flows.isometry import Isometry, SkewAttentionField
from fields.flows.metriplectic import Metriplectic, MetriplecticStep
from fields.flows.sphere_transformer import SphereTransformer, SphereTransformerField
from fields.flows.stencil_port_hamiltonian import (
    StencilPortHamiltonian,
    StencilPortHamiltonianField,
)
from fields.integrators import cayley, verlet
from fields.integrators.verlet import EnergyProjectedVerlet
from fields.nn.damping import Damping
from fields.nn.graph.incidence import Coboundary
from fields.nn.rotation import Rotation, SphereMLP
from fields.processors.block import FlowBlock
from fields.processors.stack import Stack

GRID = {"tokens": (TOKENS,)}


class Mutant(NamedTuple):
    """A processor, and the attribute whose value is replaced by a function of it."""

    make: Callable[[int], Any]
    owner: Any
    name: str
    change: Callable[[Any], Any]


def scaled(factor: float) -> Callable[[Any], Any]:
    """Multiplies what a function returns."""
    return lambda original: lambda *args, **given: factor * original(*args, **given)


def first_scaled(factor: float) -> Callable[[Any], Any]:
    """Multiplies the first of the values that a function returns."""

    def change(original):
        def changed(*args, **given):
            first, *rest = original(*args, **given)
            return factor * first, *rest

        return changed

    return change


def unprojected(step):
    """A Verlet step whose momenta are not scaled to the energy of the start."""

    def changed(self, field, t, dt, z, context, carry):
        q, p, _, grad = verlet.leapfrog(field, dt, z, context, carry.grad)
        return torch.cat([q, p], -1), carry._replace(grad=grad)

    return changed


def without_square_root(step):
    """Momenta scaled by s² instead of s."""

    def changed(self, field, t, dt, z, context, carry):
        q, p, value, grad = verlet.leapfrog(field, dt, z, context, carry.grad)
        scale = (carry.energy - value) / field.kinetic(p)
        return torch.cat([q, p * scale[:, None, None]], -1), carry._replace(grad=grad)

    return changed


def forgetful(step):
    """The energy to be kept is that after the last half step, not that at the start."""

    def changed(self, field, t, dt, z, context, carry):
        z, carry = step(self, field, t, dt, z, context, carry)
        return z, carry._replace(energy=carry.energy + 1e-6 * carry.energy.abs() + 1e-6)

    return changed


def moving_bounce(step):
    """At a bounce the positions go back and the momentum is kept at twice its size."""

    def changed(self, field, t, dt, z, context, carry):
        new, after = step(self, field, t, dt, z, context, carry)
        q, p = new.chunk(2, -1)
        back = (after.rejected_steps > carry.rejected_steps)[:, None, None]
        return torch.cat([q, torch.where(back, 2 * p, p)], -1), after

    return changed


def without_transpose(rotation):
    """A Cayley transform with D where Dᵀ belongs."""

    def changed(d, dt, q, p):
        return q - dt * d.down(p), p + dt * d.up(q)  # explicit Euler, too

    return changed


def half_step(rotation):
    """p is advanced with q at the end of the step instead of the midpoint."""

    def changed(d, dt, q, p):
        new, _ = rotation(d, dt, q, p)
        return new, p + dt * d.up(new)

    return changed


def heated(factor: float) -> Callable[[Any], Any]:
    """The heat of a metriplectic step times a factor."""

    def change(step):
        def changed(self, field, t, dt, z, context, carry):
            new, carry = step(self, field, t, dt, z, context, carry)
            old = z[..., field.dim :]
            heat = new[..., field.dim :]
            return torch.cat([new[..., : field.dim], old + factor * (heat - old)], -1), carry

        return changed

    return change


def unlimited(step):
    """A diffusion step of three times the longest one that keeps the range."""

    def changed(self, field, t, dt, z, context, carry):
        return z + 3 * field(t, z, context) / field.diffusivity().amax(), carry

    return changed


def uncut(step):
    """The Rosenbrock step with a length far beyond its bound."""

    def changed(self, field, t, dt, z, context, carry):
        move = step(self, field, t, dt, z, context, carry)[0] - z
        return z + 40 * move, carry

    return changed


def unguarded(step):
    """Descent in q of a fixed length, whether or not the energy falls, and no friction on p."""

    def changed(self, field, t, dt, z, context, carry):
        z, carry = self.project.step(field.conservative, t, dt, z, context, carry)
        q, p = z.chunk(2, -1)
        return torch.cat([q - 2.0 * carry.grad, p], -1), carry

    return changed


def symmetric(matrix):
    return lambda self, z, context: matrix(self, z, context).abs()


def not_quite_skew(matrix):
    def changed(self, z, context):
        a = matrix(self, z, context)
        return a + 1e-4 * torch.eye(a.shape[-1]).to(a)

    return changed


def untangent(tangent):
    """The velocity of the transformer itself, with its part along x."""

    def changed(self, t, x, context):
        moved, size2 = tangent(self, t, x, context)
        return moved + 0.1 * x, size2

    return changed


def stretching(matrix):
    return lambda self, tau=1.0: 1.001 * matrix(self, tau)


def not_on_the_sphere(along):
    return lambda self, x, f, tau: x + tau * f


def anti_diffusion(operators):
    def changed(self, z, context):
        s, m = operators(self, z, context)
        return s, -0.1 * m

    return changed


def not_antisymmetric(operators):
    def changed(self, z, context):
        s, m = operators(self, z, context)
        return s.abs(), 0 * m

    return changed


def without_diagonal(weights):
    """Row sums above one."""
    return lambda self, z, context: 4 * weights(self, z, context)


GRADIENT = partial(GradientFlow, **GRID, quartic=0.3)
STENCIL = partial(StencilPortHamiltonian, **GRID)
STILL_GRAND = partial(Grand, react=False)

MUTANTS = {
    "gain of 1 % in a block": Mutant(GraphHamiltonian, FlowBlock, "forward", scaled(1.005)),
    "gain of 1 % in the stack": Mutant(Isometry, Stack, "_run", scaled(1.005)),
    "sign of the adjoint": Mutant(GraphHamiltonian, Coboundary, "down", scaled(-1)),
    "factor of the adjoint": Mutant(GraphHamiltonian, Coboundary, "down", scaled(1.001)),
    "sign of the adjoint, damped": Mutant(DoubleBracket, Coboundary, "down", scaled(-1)),
    "Cayley without its solve": Mutant(
        GraphHamiltonian, cayley, "cayley_rotation", without_transpose
    ),
    "Cayley with a wrong half step": Mutant(GraphHamiltonian, cayley, "cayley_rotation", half_step),
    "rotation that stretches": Mutant(GraphHamiltonian, Rotation, "forward", scaled(1.001)),
    "rotation that stretches, between energies": Mutant(
        Hamiltonian, Rotation, "forward", scaled(1.001)
    ),
    "map that leaves the spheres": Mutant(GraphHamiltonian, SphereMLP, "along", not_on_the_sphere),
    "map that leaves the spheres, between energies": Mutant(
        Hamiltonian, SphereMLP, "along", not_on_the_sphere
    ),
    "no projection": Mutant(Hamiltonian, EnergyProjectedVerlet, "step", unprojected),
    "projection without the root": Mutant(
        Hamiltonian, EnergyProjectedVerlet, "step", without_square_root
    ),
    "energy that creeps": Mutant(
        partial(Hamiltonian, steps=3), EnergyProjectedVerlet, "step", forgetful
    ),
    "momentum that grows at a bounce": Mutant(
        partial(Hamiltonian, h=0.99, steps=20), EnergyProjectedVerlet, "step", moving_bounce
    ),
    "potential with a wrong factor": Mutant(
        Hamiltonian, HamiltonianField, "potential", first_scaled(1.01)
    ),
    "kinetic energy without its half": Mutant(
        Hamiltonian, HamiltonianField, "kinetic", scaled(2.0)
    ),
    "heat lost": Mutant(Metriplectic, MetriplecticStep, "step", heated(0.99)),
    "cooling": Mutant(Metriplectic, MetriplecticStep, "step", heated(-1)),
    "negative friction": Mutant(partial(DoubleBracket, gamma=0.5), Damping, "forward", scaled(-1)),
    "negative friction on a sphere": Mutant(SphereTransformer, Damping, "forward", scaled(-1)),
    "descent without a guard": Mutant(DampedHamiltonian, EnergyGuardedStep, "step", unguarded),
    "matrix that is not skew": Mutant(Isometry, SkewAttentionField, "matrix", symmetric),
    "matrix that is almost skew": Mutant(Isometry, SkewAttentionField, "matrix", not_quite_skew),
    "velocity that is not tangent": Mutant(
        SphereTransformer, SphereTransformerField, "tangent", untangent
    ),
    "diffusion beyond its bound": Mutant(STILL_GRAND, ExplicitDiffusion, "step", unlimited),
    "row sums above one": Mutant(STILL_GRAND, SymmetricGrandField, "weights", without_diagonal),
    "sign of the diffusion": Mutant(Grand, SymmetricGrandField, "forward", scaled(-1)),
    "climbing instead of retrieving": Mutant(Associative, HopfieldField, "forward", scaled(-1)),
    "retrieval beyond its bound": Mutant(Associative, HopfieldField, "forward", scaled(8.0)),
    "Rosenbrock step that is not cut": Mutant(GRADIENT, BoundedRosenbrock, "step", uncut),
    "climbing a learned density": Mutant(GRADIENT, LocalEnergy, "_gathered", scaled(-1)),
    "diffusion of the wrong sign": Mutant(
        STENCIL, StencilPortHamiltonianField, "operators", anti_diffusion
    ),
    "transport that is not skew": Mutant(
        STENCIL, StencilPortHamiltonianField, "operators", not_antisymmetric
    ),
}
# The step of a sphere restores |x| whatever the velocity, so this change does not break the law.
HARMLESS = {"velocity that is not tangent"}


@pytest.mark.parametrize("name", MUTANTS)
def test_every_broken_law_is_found(name, monkeypatch):
    mutant = MUTANTS[name]
    processor = build(mutant.make) if isinstance(mutant.make, type) else made(mutant.make)
    assert verify(processor, tokens(), steps=24).passed
    original = getattr(mutant.owner, mutant.name)
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.change(original))
    verdict = verify(processor, tokens(), steps=24).verdict
    assert verdict.startswith("BROKEN") != (name in HARMLESS), verdict


def made(make):
    """A processor with options, its weights moved like those of the others."""
    return build(lambda dim: make(dim))


def test_there_are_enough_of_them_over_all_laws():
    assert len(MUTANTS) - len(HARMLESS) >= 21
    processors = [m.make if isinstance(m.make, type) else m.make.func for m in MUTANTS.values()]
    assert len(set(processors)) >= 10
