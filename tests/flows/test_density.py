"""Local energies: gradient, lower bound, translations, and the law in single precision."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from fields.core.sample import Latent
from fields.dynamics.base import Context
from fields.dynamics.energies.local import LocalEnergy
from fields.evaluation.reference_energies import reference_energy
from fields.evaluation.verify import verify
from fields.flows.hamiltonian import HamiltonianField
from fields.integrators.verlet import EnergyProjectedVerlet
from fields.processors.flow import Flow

CASES = pytest.mark.parametrize(
    ("tokens", "dim", "given", "quartic"),
    [((12,), 1, 0, 0.3), ((12,), 3, 1, 0.0), ((6, 7), 2, 0, 0.0), ((6, 7), 3, 1, 0.3)],
)


def energy(
    tokens, dim: int, given: int, quartic: float, dtype=torch.float64, differences: bool = False
) -> LocalEnergy:
    torch.manual_seed(0)
    options = {"differences": differences, "quartic": quartic}
    v = LocalEnergy(dim, tokens=tokens, given=given, patterns=8, radius=2, hidden=6, **options)
    for p in v.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return v.to(dtype)


def states(tokens, dim: int, batch: int = 3, dtype=torch.float64) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randn(batch, torch.Size(tokens).numel(), dim, generator=g, dtype=torch.float64).to(
        dtype
    )


def off_gradient(v: LocalEnergy, q: torch.Tensor) -> float:
    """How far the closed form is from what differentiation gives, in the channels that move."""
    q = q.clone().requires_grad_()
    value, grad = v.value_and_grad(q)
    (expected,) = torch.autograd.grad(value.sum(), q)
    assert not grad[..., v.moving :].any()
    return (grad - expected)[..., : v.moving].abs().max().item()


@CASES
def test_gradient_in_closed_form_is_the_gradient(tokens, dim, given, quartic, monkeypatch):
    v = energy(tokens, dim, given, quartic)
    q = states(tokens, dim)
    assert off_gradient(v, q) < 1e-10
    gathered = v._gathered
    monkeypatch.setattr(
        v, "_gathered", lambda around: gathered(around.flip(-1))
    )  # neighbors taken from the other side
    assert off_gradient(v, q) > 1e-2


@CASES
def test_training_sees_the_gradient_of_the_force(tokens, dim, given, quartic):
    v = energy(tokens, dim, given, quartic)
    q = states(tokens, dim, batch=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda q: v.value_and_grad(q)[1][..., : v.moving].sin().sum(), (q,)
    )


@CASES
def test_the_reference_energy_is_the_same_by_other_code(tokens, dim, given, quartic):
    field = HamiltonianField(2 * dim, energy=lambda _: energy(tokens, dim, given, quartic)).double()
    z = states(tokens, 2 * dim)
    torch.testing.assert_close(
        reference_energy(field, z, Context())[0], field.energy(z), atol=1e-10, rtol=1e-12
    )


@CASES
def test_zero_at_rest_bounded_below_and_the_same_everywhere(tokens, dim, given, quartic):
    v = energy(tokens, dim, given, quartic)
    q = states(tokens, dim, batch=400)
    still = q.clone()
    still[..., : v.moving] = 0
    torch.testing.assert_close(v(still), torch.zeros(400, dtype=q.dtype), atol=1e-12, rtol=0)
    kappa, w = v.material(q)
    low = (
        -(w.abs() * (v.bias.abs() + (w.abs() / kappa))).sum(-1).flatten().max() * q.shape[1]
    )  # ½κa² − |w|(|a| + |b|) ≥ …
    scaled = torch.cat(
        [
            q[..., : v.moving] * torch.logspace(-2, 3, 400, dtype=q.dtype)[:, None, None],
            q[..., v.moving :],
        ],
        -1,
    )
    assert v(scaled).min() > low and v(scaled).max() > 1e3
    shifted = q.unflatten(1, tokens).roll(1, dims=1).flatten(1, len(tokens))
    torch.testing.assert_close(v(shifted), v(q), atol=1e-9, rtol=1e-12)


@CASES
def test_differences_alone_leave_the_mean_momentum_at_rest(tokens, dim, given, quartic):
    q = states(tokens, dim)
    lifted = q.clone()
    lifted[..., : dim - given] += 3.0
    for differences in (True, False):
        v = energy(tokens, dim, given, quartic, differences=differences)
        field = HamiltonianField(2 * dim, energy=lambda _, v=v: v).double()
        value, grad = field.potential(q)
        if not differences:  # the plain energy fails both
            assert (field.potential(lifted)[0] - value).abs().min() > 1e-2 and grad.sum(
                1
            ).abs().max() > 1e-2
            continue
        torch.testing.assert_close(field.potential(lifted)[0], value, atol=1e-9, rtol=1e-11)
        assert (
            grad.sum(1).abs().max() < 1e-11
            and grad.abs().max() > 1e-2
            and off_gradient(field.v, q) < 1e-10
        )
        p = torch.randn_like(q)
        z = torch.cat([q, p - p.mean(1, keepdim=True)], dim=-1)
        torch.testing.assert_close(
            reference_energy(field, z, Context())[0], field.energy(z), atol=1e-10, rtol=1e-12
        )
        end = EnergyProjectedVerlet().solve(
            field, z, times=torch.tensor([0.0, 20.0], dtype=z.dtype), steps=400
        )[-1]
        assert (
            end[..., dim : 2 * dim - given].mean(1).abs().max() < 1e-12
            and (end - z).norm() > 0.1 * z.norm()
        )


def test_the_energy_is_constant_in_single_precision_and_a_lost_one_is_seen(monkeypatch):
    tokens = (12,)
    part = partial(LocalEnergy, tokens=tokens, given=1, patterns=8)
    torch.manual_seed(0)
    flow = Flow(4, field=partial(HamiltonianField, energy=part), depth=1, steps=4, rotate=False)
    for p in flow.blocks[0].field.v.parameters():
        torch.nn.init.normal_(p, std=0.3)
    z = states(tokens, 4, dtype=torch.float32)
    z[..., 3] = 0  # what is given has no momentum
    latent = Latent(z, torch.rand(1, 12, 1), torch.tensor([True]))
    moved = flow(latent).z
    assert torch.equal(moved[..., [1, 3]], z[..., [1, 3]]) and not torch.equal(
        moved[..., [0, 2]], z[..., [0, 2]]
    )
    assert verify(flow, latent, steps=400).passed
    value_and_grad = LocalEnergy.value_and_grad

    def lost(self, z, context):
        value, grad = value_and_grad(self, z, context)
        return 0 * value, grad

    monkeypatch.setattr(LocalEnergy, "value_and_grad", lost)
    assert verify(flow, latent, steps=400).verdict.startswith("BROKEN")


def test_constants_of_the_equation_steer_it_or_are_refused():
    torch.manual_seed(0)
    cond = torch.tensor([[0.0, 0.0, 5.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]).double()
    q = states((12,), 2)[:1].expand(3, -1, -1)
    v = LocalEnergy(2, tokens=(12,), conditioned=True, quartic=0.1).double()
    value, grad = v.value_and_grad(q, Context(cond=cond))
    assert torch.equal(value[0], v(q)[0]) and (value.diff().abs() > 1e-3).all()
    assert (grad.diff(dim=0).abs().amax((1, 2)) > 1e-3).all()
    z = torch.cat([q, q], -1)
    field = HamiltonianField(4, energy=lambda _: v).double()
    context = Context(cond=cond)
    torch.testing.assert_close(
        reference_energy(field, z, context)[0], field.energy(z, context), atol=1e-10, rtol=1e-12
    )
    with pytest.raises(
        ValueError, match=r"does not use the constants of the PDE.*conditioned: true"
    ):
        LocalEnergy(2, tokens=(12,)).double()(q, context)


def test_what_cannot_be_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="2 channels, of which 2 are given: none would move"):
        LocalEnergy(2, tokens=(12,), given=2)
    with pytest.raises(ValueError, match="need more than 6 tokens per axis"):
        LocalEnergy(1, tokens=(6,))
    with pytest.raises(ValueError, match=r"is made for \(12,\) tokens, got 13"):
        LocalEnergy(1, tokens=(12,))(torch.zeros(1, 13, 1))
    with pytest.raises(
        ValueError, match=r"is made for \(12,\) tokens, got 13"
    ):  # before the medium is looked at
        LocalEnergy(2, tokens=(12,), given=1)(torch.zeros(1, 13, 2))
    with pytest.raises(ValueError, match="inverse_mass"):
        HamiltonianField(2, inverse_mass=0.0)
