"""The verifier observes the code that predicts: a gain of energy anywhere in its loops is found."""

import copy

import pytest
import torch
from helpers.states import tokens
from helpers.walk import DIM, build, label

import fields
from fields.core.sample import Sample
from fields.dynamics.base import Context
from fields.evaluation.certificate import LawFinding, find_verdict
from fields.evaluation.verify import certify, verify
from fields.flows.associative import Associative
from fields.flows.double_bracket import DoubleBracket
from fields.flows.grand import Grand
from fields.flows.graph_hamiltonian import GraphHamiltonian
from fields.flows.hamiltonian import Hamiltonian, HamiltonianField
from fields.flows.isometry import Isometry
from fields.flows.metriplectic import Metriplectic
from fields.flows.sphere_transformer import SphereTransformer
from fields.integrators.verlet import EnergyProjectedVerlet
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import LatentFlow
from fields.models.static import FieldOperator
from fields.processors.block import FlowBlock
from fields.processors.flow import Flow
from fields.processors.stack import Stack

LAWFUL = [
    Hamiltonian,
    GraphHamiltonian,
    DoubleBracket,
    Metriplectic,
    Isometry,
    SphereTransformer,
    Associative,
]
GAIN = 1.01**0.5  # of the state: 1 % of a quadratic energy


def gain_in_forward(monkeypatch):
    """One percent of energy at the end of each run of a block."""
    forward = FlowBlock.forward
    monkeypatch.setattr(FlowBlock, "forward", lambda *args: GAIN * forward(*args))


def gain_in_run(monkeypatch):
    """One percent of energy where the stack calls its blocks."""
    run = Stack._run
    monkeypatch.setattr(Stack, "_run", lambda *args: GAIN * run(*args))


def gain_in_advance(monkeypatch):
    """One percent of energy after each step, in depth and in time."""
    advance = FlowBlock.advance

    def gaining(*args):
        state, carry = advance(*args)
        return GAIN * state, carry

    monkeypatch.setattr(FlowBlock, "advance", gaining)


def gain_in_time(monkeypatch):
    """One percent of energy at each time that is returned."""
    at = Stack._at

    def gaining(self, state, context, times):
        for i, moved in enumerate(at(self, state, context, times)):
            yield GAIN**i * moved

    monkeypatch.setattr(Stack, "_at", gaining)


GAINS = [gain_in_forward, gain_in_run, gain_in_advance, gain_in_time]


@pytest.mark.parametrize("cls", LAWFUL, ids=label)
@pytest.mark.parametrize("gain", GAINS, ids=label)
def test_a_gain_of_one_percent_is_found_wherever_it_is_put(cls, gain, monkeypatch):
    processor = build(cls)
    assert verify(processor, tokens(), steps=20).passed
    gain(monkeypatch)
    assert verify(processor, tokens(), steps=20).verdict.startswith("BROKEN")


def question(model, samples=2, points=64):
    """Random inputs of a shipped one-dimensional model."""
    schema = model.schema
    (low, high), *_ = schema.bounds
    x = torch.linspace(low, high, points + 1)[None, :-1, None]
    channels = len(schema.inputs) * (schema.history if schema.dt else 1)
    u = torch.randn(samples, points, channels, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, points, dtype=torch.bool)
    v = torch.zeros(samples, 1, points, len(schema.outputs))
    t = torch.zeros(samples, 1)
    params = torch.zeros(samples, len(schema.params))
    return Sample(x, u, mask, x, v, mask, t=t, params=params)


@pytest.mark.parametrize(
    "name", ["allen_cahn", "klein_gordon_hamiltonian", "burgers_isometry", "burgers_grand"]
)
def test_the_prediction_of_a_whole_model_is_what_is_observed(name, monkeypatch):
    model = fields.load(name)
    given = question(model)
    assert certify(model, given, steps=8, frames=3).passed
    if isinstance(model, EvolutionOperator):
        at = LatentFlow.at

        def gaining(self, latent, cond, times):
            for i, code in enumerate(at(self, latent, cond, times)):
                yield code._replace(z=GAIN**i * code.z)

        monkeypatch.setattr(LatentFlow, "at", gaining)
    elif name == "burgers_grand":  # its reactions have no law, so only its diffusion is certified
        gain_in_advance(monkeypatch)
    else:
        decode = FieldOperator.decode
        monkeypatch.setattr(
            FieldOperator,
            "decode",
            lambda self, latent, *args: decode(self, latent._replace(z=GAIN * latent.z), *args),
        )
    assert certify(model, given, steps=8, frames=3).verdict.startswith("BROKEN")


def test_frames_are_counted_in_frames_and_steps_in_steps():
    model = fields.load("klein_gordon_hamiltonian")
    far = certify(model, question(model), steps=1, frames=12)
    assert far.frames == 12 and far.steps >= 12 and "12 frames" in str(far)
    near = certify(model, question(model), steps=80)
    assert near.steps >= 80 and near.frames == 10


def test_observing_leaves_the_prediction_and_the_processor_unchanged():
    processor = build(Hamiltonian)
    latent = tokens()
    methods = [block.integrator for block in processor.blocks]
    before = processor(latent).z
    states = processor.flow_states(latent)
    assert torch.equal(processor(latent).z, before)
    assert [block.integrator for block in processor.blocks] == methods
    assert [s.stage for s in states] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [s.stepped for s in states] == [False, True] * 4


def test_steps_that_are_all_refused_show_nothing(monkeypatch):
    leap = "fields.integrators.verlet.leapfrog"
    flow = Flow(DIM, field=HamiltonianField).double()
    monkeypatch.setattr(
        leap, lambda f, dt, z, c, g: (*z.chunk(2, -1), torch.full((len(z),), torch.inf), g)
    )
    certificate = verify(flow, tokens(), steps=20)
    assert not certificate.passed and "steps were rejected" in certificate.verdict
    found = certificate.findings[0]
    assert found.rejected_steps == found.taken_steps > 0


@pytest.mark.parametrize("cls", [Hamiltonian, GraphHamiltonian, DoubleBracket], ids=label)
def test_a_start_at_rest_is_not_called_broken(cls):
    latent = tokens()
    rest = torch.cat([latent.z[..., : DIM // 2], torch.zeros(3, 12, DIM // 2)], dim=-1)
    for z in (rest, torch.cat([0 * rest[:1], rest[1:]])):
        certificate = verify(build(cls), latent._replace(z=z), steps=40)
        assert certificate.passed, str(certificate)


def test_a_particle_that_starts_at_rest_is_measured_by_its_potential():
    flow = Flow(DIM, field=HamiltonianField).double()
    latent = tokens()
    rest = torch.cat([latent.z[..., : DIM // 2], torch.zeros(3, 12, DIM // 2)], dim=-1)
    assert verify(flow, latent._replace(z=rest), steps=40).passed


def test_a_state_that_does_not_move_shows_nothing():
    certificate = verify(
        build(Isometry), tokens()._replace(z=torch.zeros(3, 12, DIM).double()), steps=20
    )
    assert certificate.verdict == "nothing is shown: the state does not move"


def test_an_explosion_is_told_from_a_standstill(monkeypatch):
    processor = build(GraphHamiltonian)
    advance = FlowBlock.advance
    for factor, words in ((2.0, "grows by a factor"), (1e300, "is not finite")):
        monkeypatch.setattr(
            FlowBlock,
            "advance",
            lambda *args, by=factor: (by * advance(*args)[0], advance(*args)[1]),
        )
        verdict = verify(processor, tokens(), steps=40).verdict
        assert verdict.startswith("BROKEN: the state explodes") and words in verdict
    monkeypatch.undo()
    found = LawFinding("float64", float("inf"), 1e-12, 3, 0, 0.0, False, 8, float("inf"))
    assert find_verdict([found]).endswith("not finite at step 3")


def test_a_loop_that_takes_no_step_shows_nothing(monkeypatch):
    monkeypatch.setattr(FlowBlock, "advance", lambda self, z, carry, *_: (z, carry))
    assert "no step was taken" in verify(build(Isometry), tokens(), steps=20).verdict


def test_grand_certifies_the_diffusion_only_and_all_of_it_without_reactions():
    reacting = verify(build(Grand), tokens(), steps=20)
    assert reacting.passed and "within each diffusion" in reacting.reach
    latent = tokens()
    processor = build(Grand)
    out = processor(latent).z
    outside = (out.amax(1) > latent.z.amax(1)) | (out.amin(1) < latent.z.amin(1))
    assert outside.any()  # which the certificate does not promise
    still = verify(build(Grand, react=False), tokens(), steps=20)
    assert still.passed and still.reach == "through the whole stack"


def test_energy_projected_verlet_rejects_a_potential_that_is_not_finite():
    field = build(HamiltonianField)
    z = tokens().z
    potential = type(field).potential
    step = EnergyProjectedVerlet()
    carry = step.init(field, z, Context())
    broken = copy.copy(field)
    broken.potential = lambda q, c: tuple(
        torch.full_like(part, torch.nan) for part in potential(field, q, c)
    )
    moved, after = step.step(broken, 0.0, 0.1, z, Context(), carry)
    q, p = z.chunk(2, -1)
    assert torch.equal(moved, torch.cat([q, -p], -1)) and (after.rejected_steps == 1).all()
    assert after.grad.isfinite().all()
