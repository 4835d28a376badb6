"""Stencil port-Hamiltonian flows: operators, the law at every step size, equations."""

from __future__ import annotations

import math

import pytest
import torch

from fields.core.sample import Latent
from fields.dynamics.base import Context
from fields.evaluation.verify import verify
from fields.flows.hamiltonian import HamiltonianField
from fields.flows.stencil_port_hamiltonian import (
    ImplicitPortHamiltonianStep,
    StencilPortHamiltonianField,
)
from fields.processors.flow import Flow

CASES = pytest.mark.parametrize(("tokens", "dim"), [((12,), 1), ((12,), 2), ((6, 7), 1)])


def field(tokens, dim: int, dtype=torch.float64) -> StencilPortHamiltonianField:
    torch.manual_seed(0)
    out = StencilPortHamiltonianField(dim, tokens=tokens, patterns=5, radius=2, hidden=6)
    for p in out.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return out.to(dtype)


def states(tokens, dim: int, dtype=torch.float64) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randn(3, math.prod(tokens), dim, generator=g, dtype=torch.float64).to(dtype)


def half_square(z: torch.Tensor) -> torch.Tensor:
    return 0.5 * z.flatten(1).double().square().sum(1)


@CASES
def test_operators_are_what_the_docstring_says_place_by_place(tokens, dim):
    f = field(tokens, dim)
    z = states(tokens, dim)
    s, m = f.operators(z)
    assert torch.equal(s, -s.mT) and torch.linalg.eigvalsh(m).min() > -1e-12
    grid = z.unflatten(1, tokens)
    expected = torch.zeros_like(s)
    numbers = torch.arange(math.prod(tokens) * dim).view(*tokens, dim)
    for n in (
        torch.cartesian_prod(*(torch.arange(count) for count in tokens))
        .view(-1, len(tokens))
        .tolist()
    ):
        near = [
            [(one + o) % count for o in range(-2, 3)] for one, count in zip(n, tokens, strict=True)
        ]
        index = torch.meshgrid(*(torch.tensor(one) for one in near), indexing="ij")
        read = numbers[index].movedim(-1, 0).flatten()
        values = grid[(slice(None), *index)].movedim(-1, 1).flatten(1)
        turn, rub = f.strengths(f.look(values).tanh()).chunk(2, dim=-1)
        for mu in range(f.patterns):
            skew = torch.outer(f.left[mu], f.right[mu]) - torch.outer(f.right[mu], f.left[mu])
            local = turn[:, mu, None, None] * skew - rub[:, mu, None, None] ** 2 * torch.outer(
                f.rub[mu], f.rub[mu]
            )
            expected[:, read[:, None], read[None]] += local
    torch.testing.assert_close(s - m, expected, atol=1e-11, rtol=1e-10)
    torch.testing.assert_close(
        f(0.0, z).flatten(1), (expected @ z.flatten(1)[..., None])[..., 0], atol=1e-11, rtol=1e-10
    )


@CASES
@pytest.mark.parametrize(("dtype", "slack"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("h", [0.1, 1.0, 50.0])
def test_energy_never_rises_at_any_step_size(tokens, dim, h, dtype, slack):
    f = field(tokens, dim, dtype)
    z = states(tokens, dim, dtype)
    before = first = half_square(z)
    with torch.no_grad():
        for _ in range(30):
            z, _ = ImplicitPortHamiltonianStep().step(f, 0.0, h, z, Context(), ())
            energy = half_square(z)
            assert (energy <= before + slack * first).all()
            before = energy
    assert (before < 0.9 * first).all()


@CASES
def test_without_friction_energy_is_constant(tokens, dim):
    f = field(tokens, dim)
    z = states(tokens, dim)
    torch.nn.init.zeros_(f.rub)
    with torch.no_grad():
        end = z
        first = half_square(z)
        for _ in range(30):
            end, _ = ImplicitPortHamiltonianStep().step(f, 0.0, 0.7, end, Context(), ())
    assert ((half_square(end) - first).abs() / first).max() < 1e-13 and (
        end - z
    ).norm() > 0.5 * z.norm()


@CASES
def test_its_order_is_one_and_small_steps_follow_the_field(tokens, dim):
    f = field(tokens, dim)
    z = states(tokens, dim)
    for p in f.parameters():
        p.data *= 0.5

    def end(steps: int, time: float = 1.0) -> torch.Tensor:
        return ImplicitPortHamiltonianStep().solve(
            f, z, times=torch.tensor([0.0, time], dtype=z.dtype), steps=steps
        )[-1]

    with torch.no_grad():
        once = end(32)
        twice = end(64)
        four = end(128)
        assert abs(torch.log2((once - twice).norm() / (twice - four).norm()) - 1) < 0.2
        torch.testing.assert_close((end(1, 1e-7) - z) / 1e-7, f(0.0, z), atol=1e-4, rtol=1e-4)


def test_heat_and_the_skew_form_of_burgers_are_among_them():
    k = 32
    u = torch.sin(2 * math.pi * torch.arange(k, dtype=torch.float64) / k + 0.3)[None, :, None] + 0.2
    f = StencilPortHamiltonianField(1, tokens=(k,), patterns=1, radius=1, hidden=1).double()
    with torch.no_grad():
        # s = u, ξ = ½(δ₊₁ − δ₋₁), θ = δ₀;  l = 1, φ = δ₊₁ − δ₀. tanh is linear near 0
        f.left.copy_(torch.tensor([[-0.5, 0.0, 0.5]]))
        f.right.copy_(torch.tensor([[0.0, 1.0, 0.0]]))
        f.rub.copy_(torch.tensor([[0.0, -1.0, 1.0]]))
        f.look.weight.copy_(torch.tensor([[0.0, 1e-5, 0.0]]))
        f.look.bias.zero_()
        f.strengths.weight.copy_(torch.tensor([[1e5], [0.0]]))
        f.strengths.bias.copy_(torch.tensor([0.0, 1.0]))
        ahead = u.roll(-1, 1)
        behind = u.roll(1, 1)
        advection = -(u * (ahead - behind) + ahead**2 - behind**2) / 2  # −(u Du + D u²)
        torch.testing.assert_close(f(0.0, u), advection + ahead - 2 * u + behind, atol=1e-8, rtol=0)


def test_constants_of_the_equation_steer_it_and_training_reaches_every_weight():
    f = field((12,), 2, torch.float32)
    z = states((12,), 2, torch.float32)
    cond = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    z = z[:1].expand(3, -1, -1)
    out, _ = ImplicitPortHamiltonianStep().step(f, 0.0, 0.5, z, Context(cond=cond), ())
    assert torch.equal(
        out[0], ImplicitPortHamiltonianStep().step(f, 0.0, 0.5, z, Context(), ())[0][0]
    ) and not torch.equal(out[0], out[1])
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in f.parameters())


def test_a_certificate_passes_and_a_sign_breaks_it(monkeypatch):
    flow = Flow(
        1,
        field=lambda dim: field((12,), dim, torch.float32),
        integrator=ImplicitPortHamiltonianStep,
        steps=2,
        h=0.5,
    )
    latent = Latent(states((12,), 1, torch.float32), torch.rand(1, 12, 1), torch.tensor([True]))
    assert verify(flow, latent, steps=200).passed
    operators = StencilPortHamiltonianField.operators
    monkeypatch.setattr(
        StencilPortHamiltonianField,
        "operators",
        lambda *args: (operators(*args)[0], -1e-3 * operators(*args)[1]),
    )
    assert verify(flow, latent, steps=200).verdict.startswith("BROKEN")


def test_what_cannot_be_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="need more than 6 tokens per axis"):
        StencilPortHamiltonianField(1, tokens=(6,))
    with pytest.raises(ValueError, match=r"is made for \(12,\) tokens, got 13"):
        StencilPortHamiltonianField(1, tokens=(12,))(0.0, torch.zeros(1, 13, 1))
    with pytest.raises(ValueError, match="`ImplicitPortHamiltonianStep` cannot step"):
        Flow(8, field=HamiltonianField, integrator=ImplicitPortHamiltonianStep)
