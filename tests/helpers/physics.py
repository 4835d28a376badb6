"""Energies written out sample by sample, and states to try steps on."""

import pytest
import torch
from torch import Tensor

from fields.core.sample import Latent
from fields.dynamics.base import Context

DIM = 16
STEPS = pytest.mark.parametrize("steps", [50, pytest.param(1000, marks=pytest.mark.slow)])


def context(
    n: int = 12, batch: int = 3, dtype=torch.float64, seed: int = 0, dim: int = DIM
) -> tuple[Tensor, Context]:
    """Tokens, some samples larger than others, and where they are."""
    g = torch.Generator().manual_seed(seed)
    z = (
        torch.randn(batch, n, dim, generator=g, dtype=torch.float64)
        * torch.linspace(0.7, 1.3, batch)[:, None, None]
    )
    pos = torch.rand(1, n, 2, generator=g, dtype=torch.float64) - 0.5
    latent = Latent(z.to(dtype), pos.to(dtype), torch.tensor([True, False]))
    return latent.z, Context.of(latent)


def shaken(
    module: torch.nn.Module, *, by: float = 0.3, dtype=torch.float64, seed: int = 0
) -> torch.nn.Module:
    """The module with random weights everywhere."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p += by * torch.randn_like(p)
    return module.to(dtype)


def march(field, integrator, state: Tensor, where: Context, h: float, steps: int):
    """Yields state and carry after every step; with gradients if the state requires them."""
    h = torch.tensor(h, dtype=state.dtype)
    grad = state.requires_grad
    with torch.set_grad_enabled(grad):
        carry = integrator.init(field, state, where)
    for _ in range(steps):
        with torch.set_grad_enabled(grad):
            state, carry = integrator.step(field, 0.0, h, state, where, carry)
        yield state, carry


def half_square(x: Tensor) -> Tensor:
    """½|x|² of each sample, by hand."""
    return torch.stack(
        [0.5 * torch.dot(sample.flatten(), sample.flatten()) for sample in x.double()]
    )


def attention_energy(field, z: Tensor, where: Context) -> Tensor:
    """E of the canonical Hamiltonian with AttentionEnergy, token by token and head by head."""
    with torch.no_grad():
        return _attention_energy(field, z, where)


def _attention_energy(field, z: Tensor, where: Context) -> Tensor:
    v = field.v
    out = []
    heads = v.heads
    c = z.shape[-1] // 2
    d = c // heads
    turn = None if where.pos is None else v.rotary(where.pos, where.periodic)
    for b in range(len(z)):
        q = z[b, :, :c]
        p = z[b, :, c:]
        g = v.features.gamma * q / (1 + (q * q).sum(-1, keepdim=True) / c).sqrt()
        total = (
            0.5 * (p * p * field.log_inverse_mass.exp()).sum()
            + 0.5 * v.log_stiffness.exp() * (q * q).sum()
        )
        for h in range(heads):
            rows = slice(h * d, (h + 1) * d)
            queries = g @ v.query[rows].T
            keys = g @ v.key[rows].T
            if turn is not None:
                cos = turn[0][0, 0]
                sin = turn[1][0, 0]
                queries, keys = (
                    torch.cat(
                        [
                            x[:, : d // 2] * cos - x[:, d // 2 :] * sin,
                            x[:, : d // 2] * sin + x[:, d // 2 :] * cos,
                        ],
                        -1,
                    )
                    for x in (queries, keys)
                )
            score = queries @ keys.T / d**0.5
            if where.distance2 is not None:
                score = score - (where.distance2[0] / (2 * v.log_length[h].exp() ** 2)).clamp(
                    max=40
                )
            total = total - v.amplitude[h] * d**0.5 * score.logsumexp(-1).sum()
        for n in range(len(q)):
            inner = v.patterns @ g[n] + v.bias
            total = (
                total
                + (
                    v.weight * (torch.logaddexp(inner, -inner) - torch.tensor(2.0).double().log())
                ).sum()
            )
        out.append(total)
    return torch.stack(out)
