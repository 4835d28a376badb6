"""The certificate: structural laws survive any weights, and a broken operator is found out."""

import json
from functools import partial

import pytest
import torch
from helpers.states import tokens
from helpers.walk import DIM, build

from fields.dynamics.base import Energy
from fields.evaluation.verify import verify
from fields.flows.associative import Associative, HopfieldField, HopfieldUpdate
from fields.flows.damped_hamiltonian import DampedHamiltonianField, EnergyGuardedStep
from fields.flows.double_bracket import DoubleBracket
from fields.flows.graph_hamiltonian import GraphHamiltonian as GraphStack
from fields.flows.graph_hamiltonian import GraphHamiltonianField
from fields.flows.hamiltonian import Hamiltonian, HamiltonianField
from fields.flows.metric_hamiltonian import MetricHamiltonianField
from fields.flows.metriplectic import Metriplectic
from fields.integrators.cayley import Cayley, EnergyScaledLeapfrog
from fields.integrators.explicit import RK4
from fields.integrators.verlet import EnergyProjectedVerlet, Verlet
from fields.nn.graph.incidence import Coboundary
from fields.nn.rotation import Rotation, SphereMLP
from fields.processors.attention_ode import AttentionODE
from fields.processors.flow import Flow
from fields.processors.gat import GAT
from fields.processors.trace import FlowTrace


@pytest.mark.parametrize("cls", [Hamiltonian, Metriplectic], ids=lambda c: c.__name__)
def test_a_certificate_can_be_printed_and_written_as_json(cls):
    latent = tokens(dtype=torch.float32)
    cond = torch.randn(3, DIM)
    certificate = verify(build(cls, torch.float32), latent, cond, steps=24)
    assert json.loads(json.dumps(certificate.to_dict()))["verdict"] == "holds"
    assert "float64" in str(certificate) and "own code" not in str(certificate)


class Shallow(Energy):
    """An energy of another package, for which no independent code is registered."""

    def __init__(self, dim: int):
        super().__init__()
        self.stiffness = torch.nn.Parameter(torch.ones(dim))

    def value_and_grad(self, z, context):
        return (self.stiffness * z.square()).sum((1, 2)) / 2, self.stiffness * z


def test_a_certificate_says_when_the_energy_was_the_fields_own():
    flow = Flow(DIM, field=partial(HamiltonianField, energy=Shallow))
    certificate = verify(flow, tokens(dtype=torch.float32), steps=20)
    assert certificate.passed and not certificate.independent
    assert "computed by the field's own code" in str(certificate)


@pytest.mark.parametrize("cls", [Rotation, SphereMLP], ids=lambda c: c.__name__)
def test_norms_do_not_creep_in_single_precision(cls):
    mix = build(cls, torch.float32)
    x = tokens(dtype=torch.float32).z
    start = x.double().square().sum((1, 2))
    y = x
    with torch.no_grad():
        for _ in range(300):
            y = mix(y)
    drift = (y.double().square().sum((1, 2)) - start) / start
    assert (
        drift.abs().max() < 2e-6 and (y - x).norm() > 0.1 * x.norm()
    )  # a factor next to one loses 7e-6 and more


@pytest.mark.parametrize("cls", [GraphStack, DoubleBracket, Metriplectic], ids=lambda c: c.__name__)
def test_a_flipped_sign_is_found_out(cls, monkeypatch):
    monkeypatch.setattr(Coboundary, "down", lambda self, p: -(self.matrix.mT @ p))
    assert verify(build(cls), tokens(), steps=20).verdict.startswith("BROKEN")


def test_climbing_instead_of_retrieving_is_found_out(monkeypatch):
    original = HopfieldField.forward
    monkeypatch.setattr(HopfieldField, "forward", lambda *args: -original(*args))
    assert verify(build(Associative), tokens(), steps=20).verdict.startswith("BROKEN")


def test_a_gradient_that_does_not_belong_to_the_energy_is_forgiven_a_wrong_energy_is_not(
    monkeypatch,
):
    processor = build(Hamiltonian)
    original = type(processor.blocks[-1].field).potential
    monkeypatch.setattr(
        HamiltonianField,
        "potential",
        lambda f, q, c: (original(f, q, c)[0], 0.9 * original(f, q, c)[1]),
    )
    assert verify(processor, tokens(), steps=20).passed  # the projection keeps E whatever the force
    monkeypatch.setattr(
        HamiltonianField,
        "potential",
        lambda f, q, c: (1.01 * original(f, q, c)[0], original(f, q, c)[1]),
    )
    assert verify(processor, tokens(), steps=20).verdict.startswith("BROKEN")


def test_what_claims_no_law_gets_no_certificate():
    assert "no exact law" in verify(AttentionODE(DIM), tokens()).verdict
    assert "no exact law" in verify(GAT(DIM), tokens()).verdict
    assert (
        "no exact law"
        in verify(Flow(DIM, field=HamiltonianField, integrator=Verlet).double(), tokens()).verdict
    )


def test_a_pair_that_cannot_keep_the_law_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"`RK4` cannot step `HamiltonianField`.*`EnergyProjectedVerlet`"
    ):
        Flow(DIM, field=HamiltonianField, integrator=RK4)
    with pytest.raises(ValueError, match=r"Use `Cayley` or `EnergyScaledLeapfrog`"):
        Flow(DIM, field=GraphHamiltonianField, integrator=EnergyProjectedVerlet)
    with pytest.raises(ValueError, match=r"Use `EnergyGuardedStep`"):
        Flow(DIM, field=DampedHamiltonianField, integrator=Cayley)
    for field, integrator in (
        (GraphHamiltonianField, EnergyScaledLeapfrog),
        (MetricHamiltonianField, Cayley),
        (DampedHamiltonianField, EnergyGuardedStep),
        (HopfieldField, HopfieldUpdate),
    ):
        flow = Flow(DIM, field=field, integrator=integrator, depth=2)
        assert verify(flow, tokens(dtype=torch.float32), steps=20).passed


def test_trace_shows_energy_entropy_and_steps():
    processor = build(Metriplectic, torch.float32)
    latent = tokens(dtype=torch.float32)
    trace = processor.trace(latent, passes=3)
    assert (
        trace.energy.shape == trace.entropy.shape == trace.rejected_steps.shape == (24, 3)
        and trace.energy.dtype == torch.float64
    )
    assert (trace.entropy.diff(dim=0) >= -1e-4).all() and trace.entropy[-1].min() > trace.entropy[
        0
    ].min()
    assert ((trace.energy - trace.energy[0]).abs() / trace.energy[0]).max() < 1e-5
    assert (trace.h > 0).all() and trace.stage[:4] == [0, 0, 1, 1]


def test_trace_is_exact_under_autocast_and_counts_bounces():
    torch.manual_seed(0)
    flow = Flow(DIM, field=MetricHamiltonianField, integrator=Cayley, steps=5)
    latent = tokens(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trace = flow.trace(latent)
    assert trace.energy.dtype == torch.float64 and trace.entropy is None
    assert ((trace.energy - trace.energy[0]).abs() / trace.energy[0]).max() < 1e-5
    bouncing = Hamiltonian(DIM, h=0.99, steps=40)
    with torch.no_grad():
        for p in bouncing.parameters():
            p += torch.randn_like(p)
    cold = latent._replace(
        z=torch.cat([3 * latent.z[..., : DIM // 2], 1e-3 * latent.z[..., DIM // 2 :]], dim=-1)
    )
    rejected_steps = bouncing.trace(cold).rejected_steps
    assert rejected_steps.max() > 0 and (rejected_steps[:41].diff(dim=0) >= 0).all()


def test_a_trace_in_few_numbers():
    column = lambda *values: torch.tensor(values, dtype=torch.float64)[:, None]  # noqa: E731
    trace = FlowTrace(
        stage=[
            0,
            0,
            0,
            1,
            1,
        ],  # a new stage has an energy of its own, so the jump from 8 to 50 is none
        h=column(0.1, 0.1, 0.1, 0.3, 0.3)[:, 0],
        energy=column(10, 9, 8, 50, 51).expand(-1, 2),
        rejected_steps=column(0, 1, 2, 0, 1),
        entropy=torch.cat([column(0, 1, 2, 3, 4), column(0, 1, 2, 3, 3)], dim=1),
    )
    expected = {
        "energy": 10,
        "energy_end": 51,
        "energy_drift": 0.2,
        "energy_rise": 0.02,
        "rejected_steps": 3,
        "entropy_gain": 3,
    }
    assert trace.summary() == pytest.approx(expected | {"step_min": 0.1, "step_max": 0.3})
