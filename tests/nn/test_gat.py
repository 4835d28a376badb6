"""Graph attention equals the published formula, node by node."""

import torch
from torch.nn import functional as F

from fields.nn.graph.graph_attention import GraphAttention


def graph(n=7):
    edges = torch.rand(1, n, n) > 0.4
    edges[0, 3] = False  # looks at nobody
    edges[0, 0, 1] = True
    edges[0, 1, 0] = True
    return edges, torch.randn(2, n, 6).double()


def test_formula():
    edges, h = graph()
    layer = GraphAttention(6, out=8, heads=2).double()
    out = layer(h, edges)
    lifted = (h @ layer.lift.weight.T).reshape(2, 7, 2, 4)
    for b, i, a in [(0, 0, 0), (1, 2, 1), (1, 6, 0)]:
        near = edges[0, i].nonzero()[:, 0]
        pairs = torch.cat([lifted[b, i, a].expand(len(near), 4), lifted[b, near, a]], dim=-1)
        alpha = F.leaky_relu(pairs @ layer.pair[:, a].reshape(8), 0.2).softmax(0)
        assert (
            out[b, i, 4 * a : 4 * a + 4] - F.elu(alpha @ lifted[b, near, a])
        ).abs().max() < 1e-12


def test_weights_and_isolated_nodes():
    edges, h = graph()
    layer = GraphAttention(6, heads=2).double()
    alpha = layer.weights(h, edges)
    h = h.requires_grad_()
    some = edges.any(-1)[:, None].expand(2, 2, 7)
    assert (alpha.sum(-1)[some] - 1).abs().max() < 1e-12 and alpha[
        ~edges[:, None].expand_as(alpha)
    ].abs().max() == 0
    assert (alpha[:, :, 0, 1] - alpha[:, :, 1, 0]).abs().max() > 1e-3
    out = layer(h, edges)
    assert out[:, 3].abs().max() == 0
    assert torch.autograd.grad(out.square().sum(), h)[0].isfinite().all()


def test_many_layers_make_nodes_alike():
    h = torch.randn(1, 9, 6).double()
    edges = torch.ones(1, 9, 9, dtype=torch.bool)
    spread = []
    for _ in range(6):
        h = GraphAttention(6, heads=2).double()(h, edges)
        spread.append(float((h.std(dim=1).norm() / h.norm()).detach()))
    assert spread[-1] < 0.1 * spread[0]
