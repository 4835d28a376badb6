"""No attention weight is a subnormal number: products with those take a hundred times as long."""

from __future__ import annotations

import pytest
import torch

from fields.core.sample import Latent
from fields.dynamics.base import Context
from fields.flows.grand import RandomWalkField, SymmetricGrandField
from fields.flows.graph_hamiltonian import GraphHamiltonianField
from fields.nn.geometry import FLOOR, distance_scores


def start(tokens: int = 256, dim: int = 32) -> tuple[torch.Tensor, Context]:
    torch.manual_seed(0)
    latent = Latent(
        torch.randn(1, tokens, dim), torch.rand(1, tokens, 2) - 0.5, torch.tensor([True, False])
    )
    return latent.z, Context.of(latent)


@pytest.mark.parametrize("field", [RandomWalkField, SymmetricGrandField, GraphHamiltonianField])
def test_far_tokens_get_small_weights_but_normal_ones(field):
    z, context = start()
    f = field(32)
    weights = (
        f.operator(z, context).matrix
        if isinstance(f, GraphHamiltonianField)
        else f.weights(z, context)
    )
    size = weights.detach().abs()
    assert not (
        (size > 0) & (size < 1e-30)
    ).any()  # and products of two of them with a gradient are normal too
    assert (size < 1e-10).any()  # tokens are far enough apart for it to matter


def test_the_floor_is_below_rounding_and_above_it_nothing_changes():
    distance2 = torch.rand(1, 5, 7, dtype=torch.float64)
    log_length = torch.tensor([-3.0, 0.0], dtype=torch.float64)
    plain = -distance2[:, None] / (2 * log_length.exp() ** 2)[:, None, None]
    score = distance_scores(distance2, log_length)
    torch.testing.assert_close(score, plain.clamp(min=FLOOR))
    assert (plain < FLOOR).any() and torch.finfo(torch.float64).eps > torch.tensor(FLOOR).exp()
