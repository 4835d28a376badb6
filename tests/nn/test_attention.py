"""Attention equals its definition on every path, and respects its masks."""

import pytest
import torch
from torch import nn

from fields.nn.attention import kernels as paths
from fields.nn.attention.bilinear_forms import DiagonalForm, GramForm
from fields.nn.attention.kernels import attention_kernel
from fields.nn.attention.masks import block_mask, causal_mask, neighbor_mask
from fields.nn.attention.multihead import Attention
from fields.nn.geometry import DistanceScore

PERIODIC = torch.tensor([True, False])


def dense(q, k, v, *, bias=None, mask=None, columns=None):
    """The definition, in float64."""
    q = q.double()
    k = k.double()
    v = v.double()
    score = q @ k.mT / q.shape[-1] ** 0.5
    score = score if bias is None else score + bias.double()
    score = score if columns is None else score + columns[0].double() @ columns[1].double().mT
    if mask is None:
        return score.softmax(-1) @ v
    return score.masked_fill(~mask, -torch.inf).softmax(-1).nan_to_num(0.0) @ v


def qkv(m=6, k=9, dtype=torch.float64, grad=True):
    q = torch.randn(2, 3, m, 8)
    keys = torch.randn(2, 3, k, 8)
    v = torch.randn(2, 3, k, 5)
    return [x.to(dtype).requires_grad_(grad) for x in (q, keys, v)]


def places(m=6, k=9, dtype=torch.float64, length=0.1):
    locality = DistanceScore(heads=3, lengths=(length, 3 * length)).to(dtype)
    return locality, torch.rand(1, m, 2, dtype=dtype) - 0.5, torch.rand(2, k, 2, dtype=dtype) - 0.5


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("located", [True, False])
@pytest.mark.parametrize("limits", [(0, 0), (2**30, 2**30)])
def test_every_path_is_the_definition(grad, masked, located, limits, monkeypatch):
    monkeypatch.setattr(paths, "PLAIN", limits[0])
    monkeypatch.setattr(paths, "BIAS", limits[1])
    locality, x_q, x_k = places()
    columns = locality(x_q, x_k, PERIODIC) if located else None
    mask = torch.rand(2, 1, 6, 9) > 0.5 if masked else None
    q, k, v = qkv(grad=grad)
    expected = dense(q, k, v, mask=mask, columns=columns)
    assert (attention_kernel(q, k, v, mask=mask, columns=columns) - expected).abs().max() < 1e-12
    q, k, v = qkv(dtype=torch.bfloat16, grad=grad)
    narrow = None if columns is None else tuple(c.float() for c in columns)
    expected = dense(q, k, v, mask=mask, columns=columns)
    assert (attention_kernel(q, k, v, mask=mask, columns=narrow) - expected).abs().max() < 0.03


@pytest.mark.parametrize("limits", [(0, 0), (2**30, 0), (0, 2**30)])
def test_short_lengths_survive_bfloat16(limits, monkeypatch):
    monkeypatch.setattr(paths, "PLAIN", limits[0])
    monkeypatch.setattr(paths, "BIAS", limits[1])
    locality, x_q, x_k = places(m=50, k=400, length=0.02, dtype=torch.float32)
    columns = locality(x_q, x_k, PERIODIC)
    q = torch.zeros(2, 3, 50, 8, dtype=torch.bfloat16)
    k = torch.zeros(2, 3, 400, 8, dtype=torch.bfloat16)
    v = torch.rand(2, 3, 400, 5).bfloat16()
    error = (attention_kernel(q, k, v, columns=columns) - dense(q, k, v, columns=columns)).abs()
    assert error.max() < 0.05


def test_columns_pass_gradients_on_every_path(monkeypatch):
    grads = []
    for limit, dtype in ((0, torch.float64), (2**30, torch.bfloat16), (0, torch.bfloat16)):
        monkeypatch.setattr(paths, "PLAIN", limit)
        torch.manual_seed(3)
        locality, x_q, x_k = places(dtype=torch.float32)
        q, k, v = qkv(dtype=dtype)
        out = attention_kernel(q, k, v, columns=locality(x_q, x_k, PERIODIC))
        grads.append(torch.autograd.grad(out.float().square().sum(), locality.log_length)[0])
    assert grads[0].abs().min() > 1e-3
    for other in grads[1:]:
        assert torch.allclose(other, grads[0], rtol=0.05, atol=0.05)


def test_geometric_score_is_minus_the_squared_distance():
    locality, x_q, x_k = places()
    columns = locality(x_q, x_k, torch.tensor([False, False]))
    distance = torch.cdist(x_q.expand(2, -1, -1), x_k).square()[:, None]
    expected = -distance / (2 * locality.log_length.exp().square()[:, None, None])
    assert torch.allclose(columns[0] @ columns[1].mT, expected, atol=1e-10)


def test_weights_are_a_partition_of_unity():
    q, k, _ = qkv()
    weights = attention_kernel(
        100 * q, 100 * k, torch.eye(9, dtype=torch.float64).expand(2, 3, 9, 9)
    )
    assert (weights.sum(-1) - 1).abs().max() < 1e-12
    assert weights.min() >= 0 and weights.max() <= 1 + 1e-12
    unit = torch.eye(9, dtype=torch.float64).expand(2, 3, 9, 9)
    shifted = attention_kernel(
        q, k, unit, bias=torch.randn(1, 1, 6, 1, dtype=torch.float64).expand(1, 1, 6, 9)
    )
    assert (shifted - attention_kernel(q, k, unit)).abs().max() < 1e-12


def test_a_soft_dictionary():
    """Between the values, equal where they are equal, and a lookup when it is cold."""
    q, k, v = qkv(grad=False)
    out = attention_kernel(q, k, v)
    low = v.amin(-2, keepdim=True)
    high = v.amax(-2, keepdim=True)
    assert (
        (out >= low - 1e-12).all()
        and (out <= high + 1e-12).all()
        and (out - v.mean(-2, keepdim=True)).abs().max() > 0.1
    )
    same = torch.randn(5).double().expand_as(v)
    assert (attention_kernel(q, k, same) - same[:, :, :1]).abs().max() < 1e-12
    best = (q @ k.mT).argmax(-1, keepdim=True)
    assert (
        attention_kernel(q, k, v, scale=1e6) - v.gather(-2, best.expand(-1, -1, -1, 5))
    ).abs().max() < 1e-12


def test_a_set_has_no_order_until_it_has_positions():
    plain, located = (
        Attention(12, heads=3, lengths=lengths).double() for lengths in (None, (0.1, 0.5))
    )
    z = torch.randn(2, 7, 12).double()
    x = torch.rand(1, 7, 2).double()
    order = torch.randperm(7)
    where = {"x_q": x, "x_k": x, "periodic": PERIODIC}
    assert (plain(z[:, order], z[:, order]) - plain(z, z)[:, order]).abs().max() < 1e-12
    assert (
        located(z[:, order], z[:, order], **where) - located(z, z, **where)[:, order]
    ).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("limit", [0, 2**30])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("k", [9, 300])
def test_huge_scores_and_empty_rows_stay_finite(dtype, limit, biased, k, monkeypatch):
    monkeypatch.setattr(paths, "PLAIN", limit)
    q, k, v = qkv(k=k, dtype=dtype)
    mask = torch.rand(2, 3, 6, k.shape[-2]) > 0.4
    mask[0, 1, 2] = False
    bias = 1e4 * torch.randn(1, 3, 6, k.shape[-2]).to(dtype) if biased else None
    q = q if biased else (1e4 * q).detach().requires_grad_()
    out = attention_kernel(q, k, v, mask=mask, bias=bias)
    grads = torch.autograd.grad(out.float().square().sum(), (q, k, v))
    assert out[0, 1, 2].abs().max() == 0
    assert out.isfinite().all() and all(g.isfinite().all() for g in grads)
    assert grads[0][0, 1, 2].abs().max() == 0


@pytest.mark.parametrize("located", [True, False])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_future_does_not_leak(located, grad, dtype):
    layer = (
        Attention(12, heads=3, lengths=(0.1, 0.5) if located else None)
        .to(dtype)
        .requires_grad_(grad)
    )
    x = torch.rand(1, 7, 2).to(torch.promote_types(dtype, torch.float32))
    z = torch.randn(2, 7, 12).to(dtype)
    if located:
        layer.locality.to(x.dtype)
    moved = z.clone()
    moved[:, 4:] += 1
    real = torch.tensor([[True] * 7, [True, True, False, True, True, True, True]])
    for kwargs in (
        {"causal": True},
        {"causal": True, "mask": real},
        {"allowed": causal_mask(7, 7)[None, None]},
    ):
        out, new = (layer(s, s, x_q=x, x_k=x, periodic=PERIODIC, **kwargs) for s in (z, moved))
        assert (out[:, :4] - new[:, :4]).abs().max() == 0
        assert (out[:, 4:] - new[:, 4:]).abs().max() > 1e-3


def test_padding_is_ignored_and_masks_combine():
    layer = Attention(12, heads=3, lengths=(0.1, 0.5)).double()
    x = torch.rand(1, 7, 2).double()
    z = torch.randn(1, 7, 12).double()
    real = torch.tensor([[True] * 5 + [False] * 2])
    junk = torch.where(real[..., None], z, 1e3 * torch.randn(1, 7, 12).double())

    def with_mask(tokens, **kw):
        return layer(z, tokens, x_q=x, x_k=x, periodic=PERIODIC, mask=real, **kw)

    assert (with_mask(z) - with_mask(junk)).abs().max() == 0
    short = layer(z, z[:, :5], x_q=x, x_k=x[:, :5], periodic=PERIODIC)
    assert (with_mask(z) - short).abs().max() < 1e-12
    edges = torch.tensor([[0, 0, 1, 2, 3, 4, 5, 6], [1, 6, 0, 5, 3, 2, 5, 0]])
    graph = neighbor_mask(edges, 7, 7)[None, None]
    windows = block_mask(torch.arange(7)[None] // 4, torch.arange(7)[None] // 4)[:, None]
    out = with_mask(junk, allowed=graph & windows)
    alone = with_mask(junk, allowed=graph & windows & real[:, None, None])
    assert (out - alone).abs().max() == 0
    assert (
        out[:, 2] - layer.out.bias
    ).abs().max() < 1e-12  # its only neighbor is padding: nothing is gathered
    weights = layer.weights(
        z, junk, x_q=x, x_k=x, periodic=PERIODIC, mask=real, allowed=graph & windows
    )
    assert weights[:, :, 2].abs().max() == 0 and (weights[:, :, 0, 1] == 1).all()
    only = layer.out(layer.key_value(z)[..., 12:])
    assert (out[:, 0] - only[:, 1]).abs().max() < 1e-12  # one neighbor left: its value, unchanged


@pytest.mark.parametrize("m", [1, 17])
def test_equals_torch_multihead_attention(m):
    ours = Attention(24, heads=4, dim_kv=24).double()
    theirs = nn.MultiheadAttention(24, 4, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    q = torch.randn(3, m, 24).double()
    z = torch.randn(3, 11, 24).double()
    mask = torch.rand(3, 11) > 0.3
    mask[:, 0] = True
    assert (ours(q, z) - theirs(q, z, z)[0]).abs().max() < 1e-12
    assert (ours(q, z, mask=mask) - theirs(q, z, z, key_padding_mask=~mask)[0]).abs().max() < 1e-12


def test_permutations_of_tokens_and_subsets_of_queries():
    layer = Attention(
        48, heads=3, lengths=(0.1, 0.5), max_frequency=4.0, rotate_values=True
    ).double()
    y = torch.rand(1, 8, 2).double()
    x = torch.rand(1, 7, 2).double()
    q = torch.randn(1, 8, 48).double()
    z = torch.randn(1, 7, 48).double()
    out = layer(q, z, x_q=y, x_k=x, periodic=PERIODIC)
    order = torch.randperm(7)
    some = torch.tensor([5, 2])
    shuffled = layer(q[:, some], z[:, order], x_q=y[:, some], x_k=x[:, order], periodic=PERIODIC)
    assert (out[:, some] - shuffled).abs().max() < 1e-12
    moved = layer(q, z, x_q=y + 0.3, x_k=x + 0.3, periodic=torch.tensor([True, True]))
    assert (
        moved - layer(q, z, x_q=y, x_k=x, periodic=torch.tensor([True, True]))
    ).abs().max() < 1e-11


@pytest.mark.parametrize("kind", [DiagonalForm, GramForm])
@pytest.mark.parametrize("heads", [1, 3])
def test_metrics(kind, heads):
    plain = Attention(12, heads=3).double()
    layer = Attention(12, heads=3, metric=kind(4, heads=heads)).double()
    layer.load_state_dict(plain.state_dict(), strict=False)
    z = torch.randn(2, 5, 12).double()
    assert (layer(z, z) - plain(z, z)).abs().max() < 1e-12
    with torch.no_grad():
        for parameter in layer.metric.parameters():
            parameter.normal_()
    g = layer.metric.matrix()
    assert (g - g.mT).abs().max() < 1e-15 and torch.linalg.eigvalsh(g).min() > -1e-12
    q, k, v = qkv()
    q = q[..., :4]
    k = k[..., :4]
    expected = (
        torch.softmax(torch.einsum("bhme,hef,bhkf->bhmk", q, g.expand(3, 4, 4), k) / 2, -1) @ v
    )
    assert (attention_kernel(layer.metric(q), k, v) - expected).abs().max() < 1e-12
    assert (layer(z, z) - plain(z, z)).abs().max() > 1e-3


def test_invalid_arguments_have_messages_of_their_own():
    with pytest.raises(ValueError, match="heads to divide dim, got dim 10 and heads 4"):
        Attention(10, heads=4)
    with pytest.raises(ValueError, match="compares 4 channels per head, but the metric has 3"):
        Attention(8, heads=2, metric=GramForm(3))
