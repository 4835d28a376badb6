"""The tests of decoders fail for decoders that are broken on purpose."""

from __future__ import annotations

import pytest
import test_decoder_conformance as conformance
import test_decoder_properties as properties
import torch

import fields.decoders.cpwl as cpwl
from fields.decoders.branch_trunk import BranchTrunk
from fields.decoders.cross_attention import CrossAttention
from fields.nn.attention.multihead import Attention

PLANE = (False, True)


def gaussian_hats(y, nodes, periodic):
    """A partition of unity that is not piecewise linear: normalized Gaussians over all nodes."""
    weight = (-(y[:, None] - nodes).square().sum(-1) / (2 * 0.1**2)).softmax(-1)
    return torch.arange(len(nodes)).expand(len(y), -1), weight


def test_gaussian_hats_fail(monkeypatch):
    monkeypatch.setattr(cpwl, "hat_basis", gaussian_hats)
    for d in (1, 2):
        with pytest.raises(AssertionError):
            properties.test_cpwl_reproduces_linear_functions_and_gaussian_attention_does_not(d)
    for broken in (
        properties.test_cpwl_is_numpys_interp_on_a_line,
        properties.test_cpwl_equals_finite_element_interpolation,
    ):
        with pytest.raises(AssertionError):
            broken()


def test_hats_that_do_not_sum_to_one_fail(monkeypatch):
    whole = cpwl.hat_basis
    monkeypatch.setattr(
        cpwl, "hat_basis", lambda *given: (whole(*given)[0], 1.001 * whole(*given)[1])
    )
    with pytest.raises(AssertionError):
        properties.test_cpwl_reproduces_linear_functions_and_gaussian_attention_does_not(2)
    with pytest.raises(AssertionError):
        properties.test_cpwl_equals_finite_element_interpolation()


@pytest.mark.parametrize("change", [lambda out: out + 0.01, lambda out: out + 0.01 * out.square()])
def test_a_branch_trunk_with_a_bias_or_a_nonlinear_output_fails(change, monkeypatch):
    whole = BranchTrunk.forward
    monkeypatch.setattr(BranchTrunk, "forward", lambda self, *given: change(whole(self, *given)))
    with pytest.raises(AssertionError):
        properties.test_branch_trunk_is_bilinear()


def test_queries_that_influence_each_other_fail(monkeypatch):
    whole = CrossAttention.forward
    monkeypatch.setattr(
        CrossAttention,
        "forward",
        lambda *given: whole(*given) + 0.01 * whole(*given).mean(1, keepdim=True),
    )
    with pytest.raises(AssertionError):
        conformance.test_queries_are_independent_of_each_other(CrossAttention, PLANE)


def test_dependence_on_the_order_of_tokens_fails(monkeypatch):
    whole = CrossAttention.forward

    def counted(self, latent, *given):
        rank = torch.arange(latent.z.shape[1])[None, :, None]
        return whole(self, latent._replace(z=latent.z + 0.1 * rank.to(latent.z.dtype)), *given)

    monkeypatch.setattr(CrossAttention, "forward", counted)
    with pytest.raises(AssertionError):
        conformance.test_the_order_of_tokens_does_not_matter_but_their_positions_do(
            CrossAttention, PLANE
        )


def test_attention_weights_that_do_not_sum_to_one_fail(monkeypatch):
    whole = Attention.forward

    def leaking(self, z_q, z_kv, *, x_q, **where):
        return whole(self, z_q, z_kv, x_q=x_q, **where) * (1 + 0.01 * x_q[..., :1])

    monkeypatch.setattr(Attention, "forward", leaking)
    with pytest.raises(AssertionError):
        properties.test_equal_tokens_make_a_constant_field(None)
