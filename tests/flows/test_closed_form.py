"""Derivatives written by hand agree with finite differences."""

from __future__ import annotations

import pytest
import torch

from fields.dynamics.energies.attention import Memory
from fields.nn.attention.pairwise import EnergyAttentionFunction
from fields.nn.linear_solve import SymmetricSolve


@pytest.mark.parametrize("shared", [True, False])
def test_attention_of_an_energy(shared):
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    g = torch.randn(1 if shared else 2, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    total, u, w = EnergyAttentionFunction.apply(q, k, g)
    score = q @ k.mT + g
    torch.testing.assert_close(total, score.logsumexp(-1), atol=1e-13, rtol=1e-13)
    torch.testing.assert_close(u, score.softmax(-1) @ k, atol=1e-13, rtol=1e-13)
    torch.testing.assert_close(w, score.softmax(-1).mT @ q, atol=1e-13, rtol=1e-13)
    assert torch.autograd.gradcheck(EnergyAttentionFunction.apply, (q, k, g))


def test_total_is_finite_for_huge_scores():
    q = torch.full((1, 1, 3, 2), 100.0)
    total, _, _ = EnergyAttentionFunction.apply(
        q, q * torch.tensor([1.0, -1.0, 0.0])[:, None], torch.zeros(1, 1, 3, 3)
    )
    torch.testing.assert_close(total, torch.full((1, 1, 3), 2e4))


def test_memory_of_an_energy():
    torch.manual_seed(0)
    u = (5 * torch.randn(2, 3, 4, dtype=torch.float64)).requires_grad_()
    total, s = Memory.apply(u)
    torch.testing.assert_close(
        total, torch.nn.functional.logsigmoid(u).sum(1), atol=1e-13, rtol=1e-13
    )
    torch.testing.assert_close(s, u.sigmoid(), atol=0, rtol=0)
    assert torch.autograd.gradcheck(Memory.apply, u)
    assert all(x.isfinite().all() for x in Memory.apply(torch.tensor([[[-1e4, 1e4]]])))


def test_solve_of_a_symmetric_function():
    torch.manual_seed(0)
    d, b = (torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(
        lambda d, b: SymmetricSolve.apply(torch.eye(4, dtype=torch.float64) + d @ d.mT, b), (d, b)
    )
