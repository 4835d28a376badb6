"""Energies and entropies of the shipped laws, by code that shares only the weights with the steps.

Each function below evaluates the formula of a docstring once more: head by head, with einsum,
logaddexp and gathers in place of the kernels that the flows call. A law outside this file registers
its own function with the two generic functions of :mod:`fields.dynamics.reference`.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context
from fields.dynamics.energies.attention import AttentionEnergy
from fields.dynamics.energies.energy_transformer import EnergyTransformer
from fields.dynamics.energies.local import LocalEnergy
from fields.dynamics.energies.mlp import MLPEnergy
from fields.dynamics.reference import (
    ReferenceEnergy,
    ReferencePotential,
    half_square,
    reference_energy,
    reference_potential,
)
from fields.flows.associative import HopfieldField, PatternEnergy
from fields.flows.damped_hamiltonian import DampedHamiltonianField
from fields.flows.gradient_flow import GradientFlowField
from fields.flows.graph_hamiltonian import GraphWaveField
from fields.flows.hamiltonian import HamiltonianField
from fields.flows.isometry import SkewAttentionField
from fields.flows.metric_hamiltonian import FLOOR, MetricHamiltonianField
from fields.flows.metriplectic import MetriplecticField
from fields.flows.sphere_transformer import SphereTransformerField
from fields.flows.stencil_port_hamiltonian import StencilPortHamiltonianField
from fields.nn.geometry import rotate


@reference_energy.register(GraphWaveField)
@reference_energy.register(SkewAttentionField)
@reference_energy.register(SphereTransformerField)
@reference_energy.register(StencilPortHamiltonianField)
def _(
    field: GraphWaveField | SkewAttentionField | SphereTransformerField,
    state: Tensor,
    context: Context,
) -> ReferenceEnergy:
    """E = ½|x|² over all tokens, edges and channels."""
    energy = half_square(state)
    return ReferenceEnergy(energy, energy, torch.zeros_like(energy))


@reference_energy.register
def _(field: MetriplecticField, state: Tensor, context: Context) -> ReferenceEnergy:
    """E = ½|x|² + Σ s and S = Σ log s, with s the last channel."""
    heat = state.select(-1, state.shape[-1] - 1)
    energy = half_square(state.narrow(-1, 0, state.shape[-1] - 1)) + heat.sum(1)
    return ReferenceEnergy(energy, energy, torch.log(heat).sum(1))


@reference_energy.register
def _(field: MetricHamiltonianField, state: Tensor, context: Context) -> ReferenceEnergy:
    """E = ½ Σ a₁ᵢⱼ (qᵢ² + qⱼ² + pᵢⱼ²) over the edges ij, head by head: a₀ᵢ is Σ of a₁ at i."""
    assert context.origin is not None and context.pos is not None and context.periodic is not None
    assert context.distance2 is not None
    n = context.origin.shape[1]
    energy = state.new_zeros(len(state))
    features = context.shift(field.norm(context.origin))
    near = field.nearest(context.distance2)
    width = state.shape[-1] // field.heads
    near = near.expand(len(state), -1, -1)
    for head in range(field.heads):
        part = slice(head * width, (head + 1) * width)
        key = torch.einsum("bnc,ec->bne", features, field.key.weight[part])[:, None]
        key = rotate(key, field.rotary(context.pos, context.periodic))[:, 0]
        spacing2 = n ** (-2 / context.pos.shape[-1])
        reach = context.distance2 / spacing2 / (2 * torch.exp(field.log_length[head]) ** 2)
        score = torch.einsum("bie,bje->bij", key, key) / width**0.5 - reach
        weight = (torch.log1p(torch.exp(score)) + FLOOR).gather(2, near)
        size = torch.einsum("bkc,bkc->bk", state[..., part], state[..., part]) / 2
        far = size[:, :n].gather(1, near.flatten(1)).reshape(weight.shape)
        edges = size[:, n:].reshape(weight.shape)
        energy = energy + (weight * (size[:, :n, None] + far + edges)).sum((1, 2))
    return ReferenceEnergy(energy, energy, torch.zeros_like(energy))


@reference_energy.register
def _(field: HamiltonianField, state: Tensor, context: Context) -> ReferenceEnergy:
    """E = ½ Σ m⁻¹ p² + V(q), in units of the kinetic energy plus the sizes of the terms of V."""
    half = state.shape[-1] // 2
    q = state[..., :half]
    p = state[..., half:]
    kinetic = torch.einsum("bkc,bkc,c->b", p, p, torch.exp(field.log_inverse_mass)) / 2
    v = reference_potential(field.v, q, context)
    return ReferenceEnergy(kinetic + v.value, kinetic + v.size, torch.zeros_like(kinetic))


@reference_energy.register
def _(field: DampedHamiltonianField, state: Tensor, context: Context) -> ReferenceEnergy:
    """The energy of the conservative part."""
    return reference_energy(field.conservative, state, context)


@reference_energy.register
def _(field: GradientFlowField, state: Tensor, context: Context) -> ReferenceEnergy:
    """E = V, in units of Σ |terms|: terms of either sign cancel, and each is rounded by itself."""
    terms = _local_terms(field.v, state, context)
    energy = terms.sum((1, 2))
    return ReferenceEnergy(energy, terms.abs().sum((1, 2)), torch.zeros_like(energy))


@reference_energy.register
def _(field: HopfieldField, state: Tensor, context: Context) -> ReferenceEnergy:
    """The energy of the patterns."""
    v = reference_potential(field.memory, state, context)
    return ReferenceEnergy(v.value, v.size, torch.zeros_like(v.value))


@reference_potential.register
def _(v: LocalEnergy, q: Tensor, context: Context) -> ReferencePotential:
    terms = _local_terms(v, q, context)
    return ReferencePotential(terms.sum((1, 2)), terms.abs().sum((1, 2)))


@reference_potential.register
def _(v: AttentionEnergy, q: Tensor, context: Context) -> ReferencePotential:
    width = q.shape[-1] // v.heads
    g = _bounded(v.features.gamma, q, context)
    inner = torch.einsum("bkc,mc->bkm", g, v.patterns) + v.bias
    spring = _spring(v.log_stiffness, q)
    memory = _log_cosh(inner) * v.weight
    value = spring + memory.sum((1, 2))
    size = spring + memory.abs().sum((1, 2))
    for head in range(v.heads):
        rows = slice(head * width, (head + 1) * width)
        query, key = (torch.einsum("bkc,ec->bke", g, w[rows])[:, None] for w in (v.query, v.key))
        if context.pos is not None and context.periodic is not None:
            turn = v.rotary(context.pos, context.periodic)
            query = rotate(query, turn)
            key = rotate(key, turn)
        score = torch.einsum("bxne,bxme->bnm", query, key) / width**0.5
        if context.distance2 is not None:
            far = context.distance2 / (2 * torch.exp(v.log_length[head]) ** 2)
            score = score - far.clamp(max=40)
        total = v.amplitude[head] * width**0.5 * torch.logsumexp(score, dim=-1)
        value = value - total.sum(-1)
        size = size + total.abs().sum(-1)
    return ReferencePotential(value, size)


@reference_potential.register
def _(v: MLPEnergy, q: Tensor, context: Context) -> ReferencePotential:
    g = _bounded(v.features.gamma, q, context)
    hidden = torch.einsum("bkc,ec->bke", g, v.first.weight) + v.first.bias
    hidden = 1 - 2 / (torch.exp(2 * hidden) + 1)  # tanh
    outer = torch.einsum("bke,fe->bkf", hidden, v.second.weight) + v.second.bias
    spring = _spring(v.log_stiffness, q)
    memory = _log_cosh(outer) * v.weight
    return ReferencePotential(spring + memory.sum((1, 2)), spring + memory.abs().sum((1, 2)))


@reference_potential.register
def _(v: EnergyTransformer, q: Tensor, context: Context) -> ReferencePotential:
    n = q.shape[1]
    width = v.query.shape[1]
    g = _bounded(v.features.gamma, q, context)
    overlap = torch.einsum("bkc,mc->bkm", g, v.patterns)
    spring = _spring(v.log_stiffness, q)
    memory = (overlap * (overlap > 0)).square() / 2
    value = spring - memory.sum((1, 2))
    size = spring + memory.sum((1, 2))
    for head in range(len(v.query) if n > 1 else 0):  # a token without others predicts nothing
        query, key = (torch.einsum("bkc,ec->bke", g, w[head]) for w in (v.query, v.key))
        score = torch.einsum("bne,bme->bnm", query, key) / width**0.5
        if context.distance2 is not None:
            score = score - context.distance2 / (2 * torch.exp(v.log_length[head]) ** 2)
        others = [score[:, i, [m for m in range(n) if m != i]] for i in range(n)]
        total = width**0.5 * torch.stack([torch.logsumexp(s, dim=-1) for s in others])
        value = value - total.sum(0)
        size = size + total.abs().sum(0)
    return ReferencePotential(value, size)


@reference_potential.register
def _(v: PatternEnergy, q: Tensor, context: Context) -> ReferencePotential:
    square = half_square(q)
    beta = torch.exp(v.log_beta)
    features = context.shift(q)
    value = square
    for head in range(len(v.patterns)):
        y = torch.einsum("bkc,ce->bke", features, v.view[head])
        if context.distance2 is not None:
            near = torch.exp(-context.distance2 / (2 * torch.exp(v.log_length[head]) ** 2))
            y = torch.einsum("bnm,bme->bne", near / near.sum(-1, keepdim=True), y)
        score = beta[head] * torch.einsum("bne,pe->bnp", y, v.patterns[head])
        value = value - torch.logsumexp(score, dim=-1).sum(-1) / beta[head]
    return ReferencePotential(value, value.abs() + square)


def _local_terms(v: LocalEnergy, q: Tensor, context: Context) -> Float[Tensor, "b k m"]:
    """Terms of V by place and pattern."""
    stencils = v.stencils.unflatten(1, (v.moving, -1))
    if v.differences:
        stencils = stencils - stencils.sum(-1, keepdim=True) / stencils.shape[-1]
    a = _responses(v, q[..., : v.moving], stencils)
    stiffness, weight = _material(v, q[..., v.moving :], context)
    bent = torch.logaddexp(a + v.bias, -a - v.bias) - torch.logaddexp(v.bias, -v.bias)
    fourth = a.new_zeros(()) if v.quartic is None else (v.quartic * a**2).square() / 4
    return stiffness * a.square() / 2 + fourth + weight * bent


def _responses(v: LocalEnergy, q: Tensor, stencils: Tensor) -> Float[Tensor, "b k m"]:
    """Σ_o Ξ(o) · q(n + o) of each place n, for stencils (m c o), by shifts of the whole grid."""
    grid = q.unflatten(1, v.tokens)
    axes = tuple(range(1, 1 + len(v.tokens)))
    offsets = itertools.product(range(-v.radius, v.radius + 1), repeat=len(v.tokens))
    a = torch.zeros((), dtype=q.dtype)
    for i, offset in enumerate(offsets):
        seen = torch.roll(grid, tuple(-o for o in offset), axes)
        a = a + torch.einsum("...c,mc->...m", seen, stencils[..., i])
    return a.flatten(1, len(v.tokens))


def _material(v: LocalEnergy, given: Tensor, context: Context) -> tuple[Tensor, Tensor]:
    """κ and w: constants, plus what the PDE's constants and the given channels add."""
    raw = torch.cat([v.raw_stiffness, v.weight])
    if context.cond is not None and v.steer is not None:
        cond = context.cond[:, : v.steer.in_features].to(raw.dtype)
        raw = raw + torch.einsum("bc,mc->bm", cond, v.steer.weight)[:, None]
    if v.medium is not None:
        first, last = (layer for layer in v.medium if isinstance(layer, nn.Linear))
        stencils = first.weight.unflatten(1, (given.shape[-1], -1))
        hidden = torch.tanh(_responses(v, given, stencils) + first.bias)
        raw = raw + torch.einsum("bkc,mc->bkm", hidden, last.weight) + last.bias
    stiffness, weight = raw.chunk(2, dim=-1)
    return torch.logaddexp(stiffness, torch.zeros_like(stiffness)), weight


def _bounded(gamma: Tensor, q: Tensor, context: Context) -> Float[Tensor, "b k c"]:
    """g = γ q / √(1 + |q|²/c), plus the conditioning."""
    c = q.shape[-1]
    g = gamma * q / torch.sqrt(1 + torch.einsum("bkc,bkc->bk", q, q) / c)[..., None]
    return g if context.cond is None else g + context.cond[:, None, :c]


def _spring(log_stiffness: Tensor, q: Tensor) -> Float[Tensor, "b"]:
    """The energy of a spring, k/2 |q|²."""
    return torch.exp(log_stiffness) * torch.einsum("bkc,bkc->b", q, q) / 2


def _log_cosh(x: Tensor) -> Tensor:
    return torch.logaddexp(x, -x) - torch.log(x.new_tensor(2.0))
