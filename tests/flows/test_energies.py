"""What every energy must do, found by walking: a new one is tested with no list to edit."""

import pytest
import torch
from helpers.states import conditioning, permuted, tokens
from helpers.walk import DIM, build, energies, label

from fields.dynamics.base import Context
from fields.dynamics.reference import reference_potential

ENERGIES = pytest.mark.parametrize("cls", energies(), ids=label)


def test_the_walk_finds_the_shipped_ones():
    assert {"AttentionEnergy", "LocalEnergy", "PatternEnergy"} <= {c.__name__ for c in energies()}


@ENERGIES
@pytest.mark.parametrize("conditioned", [False, True])
def test_the_gradient_in_closed_form_is_that_of_autograd(cls, conditioned):
    energy = build(cls)
    latent = tokens()
    context = Context.of(latent, conditioning() if conditioned else None)
    z = latent.z.clone().requires_grad_()
    value, grad = energy.value_and_grad(z, context)
    assert value.shape == (3,) and grad.shape == z.shape
    (expected,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(grad, expected, atol=1e-10, rtol=1e-10)
    with torch.inference_mode():
        torch.testing.assert_close(energy.grad(latent.z, context), grad, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(energy(latent.z, context), value, atol=1e-12, rtol=1e-12)


@ENERGIES
def test_positions_are_optional_and_one_token_is_enough(cls):
    energy = build(cls)
    z = tokens().z.requires_grad_()
    value, grad = energy.value_and_grad(z)
    (expected,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(grad, expected, atol=1e-10, rtol=1e-10)
    if energy.permutation_invariant:
        single = tokens(n=1)
        value, grad = energy.value_and_grad(single.z, Context.of(single))
        assert value.isfinite().all() and grad.isfinite().all()


@ENERGIES
def test_training_differentiates_the_gradient_correctly(cls):
    energy = build(cls)
    latent = tokens(batch=1)
    context = Context.of(latent)
    weights = torch.randn_like(latent.z)
    assert torch.autograd.gradcheck(
        lambda z: (energy.grad(z, context) * weights).sum(),
        latent.z.requires_grad_(),
        fast_mode=True,
    )


@ENERGIES
def test_the_order_of_tokens_and_their_positions_matter_as_declared(cls):
    energy = build(cls)
    latent = tokens()
    value = energy(latent.z, Context.of(latent))
    other, _ = permuted(latent, energy.permutation_invariant)
    torch.testing.assert_close(energy(other.z, Context.of(other)), value, atol=1e-10, rtol=1e-10)
    shuffled, _ = permuted(latent, True)
    if not energy.permutation_invariant:
        assert (energy(shuffled.z, Context.of(shuffled)) - value).abs().max() > 1e-6
    moved = latent._replace(pos=latent.pos.flip(1))
    change = (energy(moved.z, Context.of(moved)) - value).abs().max()
    assert (change > 1e-6) == energy.uses_positions


@ENERGIES
def test_conditioning_changes_the_energy(cls):
    energy = build(cls)
    latent = tokens()
    changed = energy(latent.z, Context.of(latent, conditioning()))
    assert (changed - energy(latent.z, Context.of(latent))).abs().max() > 1e-6


@ENERGIES
@pytest.mark.parametrize("by", [0.3, 3.0])
def test_it_is_bounded_below_if_it_says_so(cls, by):
    if not cls.bounded_below:
        pytest.skip("no lower bound is claimed")
    energy = build(cls, by=by)
    z = tokens(batch=256).z
    z = z / z.flatten(1).norm(dim=1)[:, None, None]
    with torch.no_grad():
        lowest = [energy(10.0**k * z).min() for k in range(-2, 9)]
    assert all(value.isfinite() for value in lowest)
    assert min(lowest) == min(lowest[:8]), f"V decreases towards infinity: {lowest}"


@ENERGIES
@pytest.mark.parametrize("n", [1, 12])
def test_independent_code_gives_the_same_value(cls, n):
    energy = build(cls)
    latent = tokens(n=n)
    if n == 1 and not energy.permutation_invariant:
        pytest.skip("the tokens are a grid of fixed size")
    assert reference_potential.dispatch(cls) is not reference_potential.dispatch(object), (
        f"register independent code for {cls.__name__} with reference_potential"
    )
    for context in (Context.of(latent, conditioning()), Context.of(latent), Context()):
        with torch.no_grad():
            found = reference_potential(energy, latent.z, context).value
            torch.testing.assert_close(found, energy(latent.z, context), atol=1e-10, rtol=1e-11)
    assert energy(latent.z).std() > 1e-3


@ENERGIES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_that_of_the_tokens(cls, dtype):
    energy = build(cls, dtype)
    latent = tokens(dtype=dtype)
    value, grad = energy.value_and_grad(latent.z, Context.of(latent))
    assert value.dtype == grad.dtype == dtype and grad.shape[-1] == DIM
