"""Energies and entropies of states, by code that shares nothing with the steps but the weights."""

from __future__ import annotations

import itertools
from functools import singledispatch

import torch
from torch import Tensor

from fields.dynamics.base import Context, EnergyField, VectorField
from fields.dynamics.energies.attention import AttentionEnergy
from fields.dynamics.energies.local import LocalEnergy
from fields.flows.damped_hamiltonian import DampedHamiltonianField
from fields.flows.gradient_flow import GradientFlowField
from fields.flows.graph_hamiltonian import GraphWaveField
from fields.flows.hamiltonian import HamiltonianField
from fields.flows.metric_hamiltonian import FLOOR, MetricHamiltonianField
from fields.flows.metriplectic import MetriplecticField
from fields.flows.sphere_transformer import SphereTransformerField
from fields.flows.stencil_port_hamiltonian import StencilPortHamiltonianField
from fields.nn.geometry import rotate


@singledispatch
def reference_energy(
    field: VectorField, state: Tensor, context: Context
) -> tuple[Tensor, Tensor, Tensor]:
    """Energy, its scale and entropy of each sample. Fields without an energy: ½|z|²."""
    energy = torch.linalg.vector_norm(state.flatten(1), dim=1).square() / 2
    return energy, energy, torch.zeros_like(energy)


@reference_energy.register
def _(field: EnergyField, state: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    """A field without a witness of its own is taken at its word for the energy; the step is still judged."""
    energy = field.energy(state, context)
    scale = energy.abs() + torch.linalg.vector_norm(state.flatten(1), dim=1).square() / 2
    return energy, scale, torch.zeros_like(energy)


@reference_energy.register
def _(field: GraphWaveField, state: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    energy = torch.linalg.vector_norm(state[..., : field.dim].flatten(1), dim=1).square() / 2
    entropy = torch.zeros_like(energy)
    if isinstance(field, MetriplecticField):
        heat = state[:, :, -1]
        energy, entropy = energy + heat.sum(1), torch.log(heat).sum(1)
    return energy, energy, entropy


for kind in (SphereTransformerField, StencilPortHamiltonianField):  # ½|x|² here too
    reference_energy.register(kind, reference_energy.dispatch(object))


@reference_energy.register
def _(
    field: MetricHamiltonianField, state: Tensor, context: Context
) -> tuple[Tensor, Tensor, Tensor]:
    assert context.origin is not None and context.pos is not None and context.periodic is not None
    assert context.distance2 is not None
    n, energy = context.origin.shape[1], state.new_zeros(len(state))
    features = context.shift(field.norm(context.origin))
    near, width = field.nearest(context.distance2), state.shape[-1] // field.heads
    for head in range(field.heads):
        part = slice(head * width, (head + 1) * width)
        key = torch.einsum("bnc,ec->bne", features, field.key.weight[part])[:, None]
        key = rotate(key, field.rotary(context.pos, context.periodic))[:, 0]
        reach = (
            context.distance2
            * n ** (2 / context.pos.shape[-1])
            / (2 * torch.exp(field.log_length[head]) ** 2)
        )
        weight = (
            torch.log1p(torch.exp(torch.einsum("bie,bje->bij", key, key) / width**0.5 - reach))
            + FLOOR
        )
        weight = weight.gather(2, near.expand(len(state), -1, -1))
        size = torch.einsum("bkc,bkc->bk", state[..., part], state[..., part]) / 2
        far = (
            size[:, :n].gather(1, near.expand(len(state), -1, -1).flatten(1)).reshape(weight.shape)
        )
        energy = energy + (
            weight * (size[:, :n, None] + far + size[:, n:].reshape(weight.shape))
        ).sum((1, 2))
    return energy, energy, torch.zeros_like(energy)


@reference_energy.register
def _(field: HamiltonianField, state: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    half = state.shape[-1] // 2
    q, p = state[..., :half], state[..., half:]
    kinetic = torch.einsum("bkc,bkc,c->b", p, p, torch.exp(field.log_inverse_mass)) / 2
    if isinstance(field.v, LocalEnergy):  # zero at rest, so that the energy itself is a scale
        potential = _density_energy(field.v, q, context).sum((1, 2))
        return kinetic + potential, kinetic + potential.abs(), torch.zeros_like(kinetic)
    potential = (
        _attention_energy(field.v, q, context)
        if isinstance(field.v, AttentionEnergy)
        else field.v(q, context)
    )
    return kinetic + potential, kinetic, torch.zeros_like(kinetic)


@reference_energy.register
def _(
    field: DampedHamiltonianField, state: Tensor, context: Context
) -> tuple[Tensor, Tensor, Tensor]:
    return reference_energy(field.conservative, state, context)


@reference_energy.register
def _(field: GradientFlowField, state: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    parts = _density_energy(field.v, state, context)  # which cancel: rounding is of their sizes
    energy = parts.sum((1, 2))
    return energy, parts.abs().sum((1, 2)), torch.zeros_like(energy)


def _density_energy(v: LocalEnergy, q: Tensor, context: Context) -> Tensor:
    """Terms of V by place and pattern, with nothing from the class but its weights and what it makes of the medium."""
    grid, axes = q[..., : v.moving].unflatten(1, v.tokens), tuple(range(1, 1 + len(v.tokens)))
    offsets = list(itertools.product(range(-v.radius, v.radius + 1), repeat=len(v.tokens)))
    stencils = v.stencils.unflatten(1, (v.moving, len(offsets)))
    stencils = (
        stencils - stencils.sum(-1, keepdim=True) / len(offsets) if v.differences else stencils
    )
    a = torch.zeros((), dtype=q.dtype)
    for i, offset in enumerate(offsets):
        seen = torch.roll(grid, tuple(-o for o in offset), axes)
        a = a + torch.einsum("...c,mc->...m", seen, stencils[..., i])
    stiffness, weight = v.material(q, context)
    a = a.flatten(1, len(v.tokens))
    bent = torch.logaddexp(a + v.bias, -a - v.bias) - torch.logaddexp(v.bias, -v.bias)
    fourth = a.new_zeros(()) if v.quartic is None else (v.quartic * a**2).square() / 4
    return stiffness * a.square() / 2 + fourth + weight * bent


def _attention_energy(v: AttentionEnergy, q: Tensor, context: Context) -> Tensor:
    """V by einsums, head by head, with nothing from the class but its weights."""
    c, width = q.shape[-1], q.shape[-1] // v.heads
    g = v.features.gamma * q / torch.sqrt(1 + torch.einsum("bkc,bkc->bk", q, q) / c)[..., None]
    g = g if context.cond is None else g + context.cond[:, None, :c]
    inner = torch.einsum("bkc,mc->bkm", g, v.patterns) + v.bias
    potential = torch.einsum(
        "bkm,m->b", torch.logaddexp(inner, -inner) - torch.log(inner.new_tensor(2.0)), v.weight
    )
    for head in range(v.heads):
        rows = slice(head * width, (head + 1) * width)
        query, key = (torch.einsum("bkc,ec->bke", g, w[rows])[:, None] for w in (v.query, v.key))
        if context.pos is not None and context.periodic is not None:
            turn = v.rotary(context.pos, context.periodic)
            query, key = rotate(query, turn), rotate(key, turn)
        score = torch.einsum("bxne,bxme->bnm", query, key) / width**0.5
        if context.distance2 is not None:
            score = score - (context.distance2 / (2 * torch.exp(v.log_length[head]) ** 2)).clamp(
                max=40
            )
        potential = potential - v.amplitude[head] * width**0.5 * torch.logsumexp(score, dim=-1).sum(
            -1
        )
    return potential + torch.exp(v.log_stiffness) * torch.einsum("bkc,bkc->b", q, q) / 2
