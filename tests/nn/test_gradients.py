"""Gradients in closed form equal those of autograd."""

import pytest
import torch

from fields.nn.attention.gradients import (
    AttentionReference,
    bilinear,
    bilinear_grad,
    log_sum_exp,
    softmax_grad,
)

BETAS = [0.3, 1.0, 4.0]


def inputs(batch=(2, 3), m=5, k=7, e=4, f=6, w=3):
    make = lambda *shape: torch.randn(*shape, dtype=torch.float64, requires_grad=True)  # noqa: E731
    return make(*batch, m, e), make(*batch, k, f), make(*batch, k, w), make(batch[-1], e, f)


def close(actual, expected, tol=1e-12):
    assert (actual - expected).abs().max() <= tol * (1 + expected.abs().max())


@pytest.mark.parametrize("beta", BETAS)
def test_every_gradient_of_attention_equals_autograd(beta):
    q, k, v, g = inputs()
    d_out = torch.randn(2, 3, 5, 3, dtype=torch.float64)
    plain = torch.softmax(beta * (q @ g @ k.mT), -1) @ v
    close(AttentionReference.apply(q, k, v, g, beta), plain)
    expected = torch.autograd.grad(plain, (q, k, v, g), d_out)
    actual = torch.autograd.grad(AttentionReference.apply(q, k, v, g, beta), (q, k, v, g), d_out)
    for a, b in zip(actual, expected, strict=True):
        close(a, b)


def test_finite_differences_agree_to_second_order():
    args = inputs(batch=(2,), m=2, k=3, e=2, f=2, w=2)
    run = lambda *x: AttentionReference.apply(*x, 0.7)  # noqa: E731
    assert torch.autograd.gradcheck(run, args)
    assert torch.autograd.gradgradcheck(run, args)


def test_identity_metric():
    q, k, _, _ = inputs(f=4)
    d_scores = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    actual = bilinear_grad(q, k, d_scores)
    expected = torch.autograd.grad(bilinear(q, k), (q, k), d_scores)
    close(actual.q, expected[0])
    close(actual.k, expected[1])


@pytest.mark.parametrize("beta", BETAS)
def test_softmax_jacobian(beta):
    scores = torch.randn(6, dtype=torch.float64)
    p = torch.softmax(beta * scores, -1)
    jacobian = torch.stack(
        [softmax_grad(p[None], row[None], beta)[0] for row in torch.eye(6, dtype=torch.float64)]
    )
    close(jacobian, beta * (torch.diag(p) - torch.outer(p, p)))
    close(
        jacobian, torch.autograd.functional.jacobian(lambda s: torch.softmax(beta * s, -1), scores)
    )


@pytest.mark.parametrize("beta", BETAS)
def test_the_gradient_of_log_sum_exp_is_the_weights(beta):
    scores = (50 * torch.randn(4, 5, 7, dtype=torch.float64)).requires_grad_()
    mask = torch.rand(4, 5, 7) > 0.4
    mask[0, 0] = False
    value, weights = log_sum_exp(scores, beta, mask)
    expected = torch.autograd.grad(value.sum(), scores)[0]
    assert value[0, 0] == 0 and not weights[0, 0].any()
    assert weights[~mask].abs().max() == 0
    close(weights, expected)
    allowed = (beta * scores).masked_fill(~mask, -torch.inf).logsumexp(-1) / beta
    close(value[mask.any(-1)], allowed[mask.any(-1)])
