"""What a processor becomes when its extra term is switched off, and laws that survive training."""

import pytest
import torch
from helpers.states import tokens
from helpers.walk import DIM, build

from fields.evaluation.verify import verify
from fields.flows.associative import Associative
from fields.flows.double_bracket import DoubleBracket
from fields.flows.grand import Grand
from fields.flows.graph_hamiltonian import GraphHamiltonian
from fields.flows.hamiltonian import Hamiltonian
from fields.flows.isometry import Isometry
from fields.flows.metriplectic import Metriplectic


def test_without_damping_the_double_bracket_processor_is_the_hamiltonian_one_bit_by_bit():
    wave = build(GraphHamiltonian)
    latent = tokens()
    bracket = DoubleBracket(DIM, gamma=0.0, learned=False).double()
    missing, unexpected = bracket.load_state_dict(wave.state_dict(), strict=False)
    assert not unexpected and all(name.endswith("damping.raw") for name in missing)
    assert torch.equal(bracket(latent).z, wave(latent).z)
    damped = DoubleBracket(DIM, gamma=0.1).double()
    damped.load_state_dict(wave.state_dict(), strict=False)
    assert not torch.equal(damped(latent).z, wave(latent).z)


def test_without_friction_the_metriplectic_processor_moves_like_the_hamiltonian_one():
    wave = build(GraphHamiltonian)
    latent = tokens()
    warm = Metriplectic(DIM, gamma=0.0).double()
    warm.load_state_dict(wave.state_dict(), strict=False)
    torch.testing.assert_close(warm(latent).z, wave(latent).z, atol=1e-12, rtol=0)
    trace = warm.trace(latent)
    assert trace.entropy is not None
    torch.testing.assert_close(
        trace.entropy, trace.entropy[:1].expand_as(trace.entropy), atol=1e-12, rtol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "cls",
    [GraphHamiltonian, Isometry, Hamiltonian, DoubleBracket, Metriplectic, Grand, Associative],
)
def test_laws_hold_after_training_in_half_precision(cls):
    torch.manual_seed(0)
    processor = cls(DIM)
    latent = tokens(dtype=torch.float32)
    target = torch.randn(3, 12, DIM)
    optimizer = torch.optim.AdamW(processor.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (processor(latent).z - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.95 * losses[0]
    certificate = verify(processor, latent, steps=1000)
    assert certificate.passed, str(certificate)
