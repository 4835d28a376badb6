"""What every vector field must do, found by walking: a new one is tested with no list to edit."""

import pytest
import torch
from helpers.states import conditioning, permuted, tokens
from helpers.walk import build, field_cases, fits, integrators, label

from fields.dynamics.base import Context, EnergyField, Invariant
from fields.dynamics.reference import has_reference, reference_energy

FIELDS = pytest.mark.parametrize("case", field_cases(), ids=label)


def velocity(field, latent, cond=None):
    """f of the tokens after one Euler step, by which edges have started to move."""
    context = Context.of(latent, cond)
    with torch.no_grad():
        state = field.lift(latent.z, context)
        state = state + 0.1 * field(0.0, state, context)
        return field.project(field(0.0, state, context))


def test_the_walk_finds_the_shipped_ones():
    found = {case.__name__ for case in field_cases()}
    assert {
        "HamiltonianField-MLPEnergy",
        "GradientFlowField-LocalEnergy",
        "AttentionField",
    } <= found
    assert "GradientFlowField-MLPEnergy" not in found


@FIELDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_state_holds_the_tokens_and_keeps_its_dtype(case, dtype):
    field = build(case, dtype)
    latent = tokens(dtype=dtype)
    context = Context.of(latent)
    state = field.lift(latent.z, context)
    assert torch.equal(field.project(state), latent.z)
    moved = field(0.0, state, context)
    assert moved.shape == state.shape and moved.dtype == dtype and moved.isfinite().all()


@FIELDS
def test_order_and_positions_of_tokens_matter_as_declared(case):
    field = build(case)
    latent = tokens()
    f = velocity(field, latent)
    other, order = permuted(latent, field.permutation_equivariant)
    torch.testing.assert_close(velocity(field, other), f[:, order], atol=1e-9, rtol=1e-9)
    shuffled, order = permuted(latent, True)
    if not field.permutation_equivariant:
        assert (velocity(field, shuffled) - f[:, order]).abs().max() > 1e-6
    moved = latent._replace(pos=latent.pos.flip(1))
    assert ((velocity(field, moved) - f).abs().max() > 1e-6) == field.uses_positions
    period = latent._replace(pos=latent.pos + torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(velocity(field, period), f, atol=1e-9, rtol=1e-9)


@FIELDS
def test_conditioning_changes_the_velocity(case):
    field = build(case)
    latent = tokens()
    assert (velocity(field, latent, conditioning()) - velocity(field, latent)).abs().max() > 1e-6


@FIELDS
def test_the_exact_flow_has_the_law_by_independent_code(case):
    field = build(case)
    latent = tokens()
    context = Context.of(latent, conditioning())
    with torch.no_grad():
        state = field.lift(latent.z, context)
        state = state + 0.1 * field(0.0, state, context)
        f = field(0.0, state, context)
    if field.law is Invariant.MAXIMUM:
        ahead = state + f
        assert (ahead.amax(1) <= state.amax(1) + 1e-12).all()
        assert (ahead.amin(1) >= state.amin(1) - 1e-12).all()
        return
    if field.law is Invariant.NONE:
        return
    assert isinstance(field, EnergyField) and has_reference(field), (
        f"register independent code for {type(field).__name__} with reference_energy"
    )
    state = state.requires_grad_()
    energy, scale, entropy = reference_energy(field, state, context)
    torch.testing.assert_close(field.energy(state, context), energy, atol=1e-9, rtol=1e-11)
    (grad,) = torch.autograd.grad(energy.sum(), state, retain_graph=True)
    rate = (grad * f).sum((1, 2))
    size = (grad * f).abs().sum((1, 2))
    if field.law is Invariant.DECAY:
        assert (rate < 0).all()
    else:
        assert (rate.abs() <= 1e-11 * size).all() and (size > 1e-3 * scale).all()
    if field.law is Invariant.METRIPLECTIC:
        (grad,) = torch.autograd.grad(entropy.sum(), state)
        assert ((grad * f).sum((1, 2)) > 0).all()
        torch.testing.assert_close(field.entropy(state), entropy, atol=1e-9, rtol=1e-11)


@FIELDS
def test_some_integrator_preserves_its_law(case):
    assert any(fits(case, method) for method in integrators())
