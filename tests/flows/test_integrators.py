"""What every integrator must do for every field that it accepts, found by walking."""

import inspect

import pytest
import torch
from helpers.states import conditioning, tokens
from helpers.walk import DIM, build, energies, field_cases, integrators, label, pairs, shake

from fields.dynamics.base import Context, EnergyField, Invariant
from fields.evaluation.verify import verify
from fields.integrators.verlet import EnergyProjectedVerlet
from fields.processors.block import FlowBlock
from fields.processors.flow import Flow

PAIRS = pytest.mark.parametrize(("case", "method"), pairs(), ids=label)
EXACT = (Invariant.ENERGY, Invariant.DECAY, Invariant.METRIPLECTIC, Invariant.MAXIMUM)


def sharp(method, **given):
    """The integrator with settings at which iterations and tolerances are below rounding."""
    parameters = inspect.signature(method).parameters
    given |= {"rtol": 1e-10, "atol": 1e-12} if "rtol" in parameters else {}
    given |= {"iterations": 12} if "iterations" in parameters else {}
    return method(**given)


def test_every_integrator_steps_some_field_and_every_kind_that_it_names():
    accepted = {method for _, method in pairs()}
    assert accepted == set(integrators())
    made = [case(DIM) for case in field_cases()]
    for method in integrators():
        for kind, _ in method.preserves:
            assert any(isinstance(field, kind) for field in made), f"{method.__name__}: {kind}"


@PAIRS
@pytest.mark.parametrize("steps", [24, pytest.param(1000, marks=pytest.mark.slow)])
def test_its_law_holds_at_every_step_in_both_precisions(case, method, steps):
    if method().law(case(DIM)) not in EXACT:
        pytest.skip("no exact law is claimed")
    steps = 24 if "iterations" in inspect.signature(method).parameters else steps
    torch.manual_seed(0)
    flow = shake(Flow(DIM, field=case, integrator=method, h=0.1), 0.2, torch.float32)
    latent = tokens(dtype=torch.float32)
    cond = conditioning(dtype=torch.float32)
    certificate = verify(flow, latent, cond, steps=steps)
    assert certificate.passed and certificate.independent, str(certificate)


@PAIRS
def test_the_observed_order_is_the_stated_one(case, method):
    field = build(case, by=0.1)
    latent = tokens(batch=1)
    integrator = sharp(method)
    context = Context.of(latent)

    def end(steps):
        state = field.lift(latent.z, context)
        time = torch.tensor([0.0, 0.25], dtype=torch.float64)
        return integrator.solve(field, state, context, times=time, steps=steps)[-1]

    with torch.no_grad():
        coarse = end(8)
        middle = end(16)
        fine = end(32)
    first = (coarse - middle).norm()
    second = (middle - fine).norm()
    if "rtol" in inspect.signature(method).parameters:  # converged to the tolerance at once
        assert max(first, second) < 1e-8 * fine.norm()
    else:
        assert torch.log2(first / second) > integrator.order - 0.3


@PAIRS
def test_small_steps_follow_the_field(case, method):
    field = build(case)
    latent = tokens()
    integrator = sharp(method)
    context = Context.of(latent)
    h = 1e-6
    with torch.no_grad():
        state = field.lift(latent.z, context)
        state = state + 0.1 * field(0.0, state, context)
        carry = integrator.init(field, state, context)
        moved, _ = integrator.step(field, 0.0, torch.tensor(h).double(), state, context, carry)
        expected = field(0.0, state, context)
    assert ((moved - state) / h - expected).norm() < 1e-3 * expected.norm()


@PAIRS
def test_the_state_stays_in_single_precision_under_autocast(case, method):
    field = build(case, torch.float32)
    latent = tokens(dtype=torch.float32)
    integrator = method()
    context = Context.of(latent)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        state = field.lift(latent.z, context)
        carry = integrator.init(field, state, context)
        moved, carry = integrator.step(field, 0.0, torch.tensor(0.1), state, context, carry)
    assert moved.dtype == torch.float32 and moved.shape == state.shape
    assert integrator.rejected_steps(carry, moved).shape == (3,)


@pytest.mark.slow
@PAIRS
def test_a_step_is_one_graph_forwards_and_backwards(case, method):
    if "rtol" in inspect.signature(method).parameters:
        pytest.skip("adaptive steps depend on values")
    torch._dynamo.reset()
    fast = {"iterations": 2} if "iterations" in inspect.signature(method).parameters else {}
    field = build(case, torch.float32)
    latent = tokens(dtype=torch.float32)
    context = Context.of(latent)
    block = FlowBlock(field=field, integrator=method(**fast))
    with torch.no_grad():
        state = field.lift(latent.z, context)
        carry = block.begin(state, context)

    def run(advance):
        x = state.clone().requires_grad_()
        out, _ = advance(x, carry, context)
        gradients = torch.autograd.grad(
            out.square().sum(), [x, *field.parameters()], allow_unused=True
        )
        return out.detach(), *(g for g in gradients if g is not None)

    compiled = torch.compile(block.advance, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(run(compiled), run(block.advance), atol=1e-5, rtol=1e-5)


def exact_method(field):
    """An integrator that preserves the law of this field without reading ``field.energy``."""
    reads = {"DiscreteGradient", "EnergyScaledLeapfrog"}
    return next(
        m
        for m in integrators()
        if m.__name__ not in reads
        and any(isinstance(field, kind) and law is field.law for kind, law in m.preserves)
    )


@pytest.mark.parametrize("case", field_cases(), ids=label)
def test_verify_does_not_ask_the_field_for_its_energy(case, monkeypatch):
    field = case(DIM)
    if not isinstance(field, EnergyField):
        pytest.skip("the law involves no energy")
    flow = Flow(DIM, field=case, integrator=exact_method(field)).double()
    monkeypatch.setattr(type(field), "energy", lambda *_: 1 / 0)
    assert verify(flow, tokens(), steps=4).independent


@pytest.mark.parametrize("energy", energies(), ids=label)
def test_a_flipped_sign_in_an_energy_breaks_the_certificate(energy, monkeypatch):
    case = next(c for c in field_cases() if c.__name__ == f"HamiltonianField-{energy.__name__}")
    flow = shake(Flow(DIM, field=case, integrator=EnergyProjectedVerlet, h=0.1), 0.2)
    assert verify(flow, tokens(), steps=12).passed
    value_and_grad = energy.value_and_grad

    def flipped(self, z, context=Context()):
        value, grad = value_and_grad(self, z, context)
        return -value, grad

    monkeypatch.setattr(energy, "value_and_grad", flipped)
    assert verify(flow, tokens(), steps=12).verdict.startswith("BROKEN")
