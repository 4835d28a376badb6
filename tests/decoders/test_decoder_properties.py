"""Properties of single decoders beyond the contract that all of them share."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import skfem
import torch
from einops import einsum
from problems import schema
from scipy.spatial import Delaunay
from torch.utils._python_dispatch import TorchDispatchMode

from fields.core.sample import Latent
from fields.decoders.branch_trunk import BranchTrunk
from fields.decoders.cpwl import CPWL, interpolate
from fields.decoders.cross_attention import CrossAttention
from fields.nn.attention.kernels import attention_kernel
from fields.nn.attention.multihead import Attention
from fields.nn.attention.nearest import NearestAttention, nearest_neighbors
from fields.nn.interpolation.mesh import hat_basis

LINE, PLANE, SPACE = ((False,) * d for d in (1, 2, 3))


def cloud(d: int, k: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(k, d, generator=torch.Generator().manual_seed(seed)).double() - 0.5


def latent_at(nodes: torch.Tensor, z: torch.Tensor, periodic: tuple[bool, ...]) -> Latent:
    return Latent(z, nodes[None], torch.tensor(periodic))


def inside(nodes: torch.Tensor, m: int, seed: int = 1) -> torch.Tensor:
    """Random convex combinations of random nodes."""
    g = torch.Generator().manual_seed(seed)
    picked = nodes[torch.randint(len(nodes), (m, nodes.shape[1] + 1), generator=g)]
    weight = torch.rand(m, nodes.shape[1] + 1, 1, generator=g).double()
    return (picked * weight).sum(1) / weight.sum(1)


@pytest.mark.parametrize("periodic", [LINE, PLANE, SPACE, (True,), (True, False), (True, True)])
def test_hats_are_a_partition_of_unity(periodic):
    nodes = cloud(len(periodic), 40)
    y = cloud(len(periodic), 500, seed=1)
    _, weight = hat_basis(y, nodes, torch.tensor(periodic))
    assert weight.min() >= 0 and (weight.sum(-1) - 1).abs().max() < 1e-13
    own, at_nodes = hat_basis(nodes, nodes, torch.tensor(periodic))
    assert ((own == torch.arange(40)[:, None]) * at_nodes).sum(-1).min() > 1 - 1e-9  # φᵢ(xⱼ) = δᵢⱼ


@pytest.mark.parametrize("d", [1, 2, 3])
def test_cpwl_reproduces_linear_functions_and_gaussian_attention_does_not(d):
    nodes = cloud(d, 40)
    y = inside(nodes, 300)
    slope = torch.arange(1.0, d + 1).double()
    values = (nodes @ slope + 0.5)[None, :, None]
    out = interpolate(values, latent_at(nodes, values, (False,) * d), y[None])[0, :, 0]
    assert (out - (y @ slope + 0.5)).abs().max() < 1e-13
    attention = Attention(16, heads=1, lengths=(0.1, 0.1)).double()
    for p in (attention.query, attention.key_value):
        torch.nn.init.zeros_(p.weight)
        torch.nn.init.zeros_(p.bias)
    weights = attention.weights(
        torch.zeros(1, len(y), 16).double(),
        torch.zeros(1, 40, 16).double(),
        x_q=y[None],
        x_k=nodes[None],
        periodic=torch.tensor((False,) * d),
    )[0, 0]
    assert (weights.sum(-1) - 1).abs().max() < 1e-12
    assert (weights @ values[0, :, 0] - (y @ slope + 0.5)).abs().max() > 1e-3


def test_cpwl_is_numpys_interp_on_a_line():
    nodes = cloud(1, 17)
    y = torch.linspace(-0.6, 0.6, 999).double()  # beyond the last nodes too
    values = torch.randn(1, 17, 1).double()
    order = nodes[:, 0].argsort()
    for periodic, period in ((False, None), (True, 1.0)):
        out = interpolate(values, latent_at(nodes, values, (periodic,)), y[None, :, None])[0, :, 0]
        expected = np.interp(y, nodes[order, 0], values[0, order, 0], period=period)
        assert np.abs(out.numpy() - expected).max() < 1e-12


def test_cpwl_equals_finite_element_interpolation():
    """scikit-fem's P1 elements on the same triangulation, evaluated at the same points."""
    nodes = cloud(2, 40)
    y = inside(nodes, 200)
    values = torch.randn(1, 40, 1, generator=torch.Generator().manual_seed(2)).double()
    mesh = skfem.MeshTri(nodes.numpy().T.copy(), Delaunay(nodes.numpy()).simplices.T.copy())
    expected = skfem.Basis(mesh, skfem.ElementTriP1()).probes(y.numpy().T) @ values[0, :, 0].numpy()
    out = interpolate(values, latent_at(nodes, values, PLANE), y[None])[0, :, 0]
    assert np.abs(out.numpy() - expected).max() < 1e-11


def test_cpwl_is_attention_with_the_score_log_phi():
    torch.manual_seed(0)
    decoder = CPWL(16, schema(PLANE)).double()
    nodes = cloud(2, 30)
    z = torch.randn(2, 30, 16).double()
    y = cloud(2, 100, seed=1)
    index, weight = hat_basis(y, nodes, torch.tensor(PLANE))
    phi = torch.zeros(100, 30).double().scatter_add(1, index, weight)
    empty = torch.zeros(2, 1, 100, 4).double(), torch.zeros(2, 1, 30, 4).double()
    by_attention = attention_kernel(*empty, decoder.value(z)[:, None], bias=phi.log()[None, None])[
        :, 0
    ]
    torch.testing.assert_close(
        decoder(latent_at(nodes, z, PLANE), y[None]), by_attention, atol=1e-12, rtol=0
    )


def test_hats_have_the_gradients_of_finite_elements():
    nodes = cloud(2, 30).requires_grad_()
    y = inside(cloud(2, 30), 20).requires_grad_()
    values = torch.randn(1, 30, 1).double()

    def field(nodes, y):
        return interpolate(values, latent_at(nodes, values, PLANE), y[None])

    assert torch.autograd.gradcheck(field, (nodes, y), eps=1e-7, atol=1e-5)


def test_too_few_nodes_are_refused():
    with pytest.raises(ValueError, match=r"at least 3 nodes, got 2\. Use more tokens"):
        hat_basis(cloud(2, 5), cloud(2, 2), torch.tensor(PLANE))


def test_branch_trunk_is_bilinear():
    torch.manual_seed(0)
    decoder = BranchTrunk(16, schema(PLANE), skip_features=2).double()
    nodes = cloud(2, 12)
    y = cloud(2, 30, seed=1)[None]
    skip_features = torch.randn(2, 30, 2).double()
    latent = latent_at(nodes, torch.randn(2, 12, 16).double(), PLANE)
    branch = decoder.branch(latent)
    trunk = decoder.trunk(y, skip_features)
    product = einsum(branch, trunk, "b o r, b m r -> b m o") / 4
    torch.testing.assert_close(decoder(latent, y, None, skip_features), product, atol=1e-14, rtol=0)
    # Other coefficients with the same basis: the field is linear in them.
    decoder.branch = lambda *_: 3 * branch + 1
    moved = decoder(latent, y, None, skip_features)
    torch.testing.assert_close(
        moved, 3 * product + trunk.sum(-1, keepdim=True) / 4, atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("nearest", [None, 9])
def test_equal_tokens_make_a_constant_field(nearest):
    """On homogeneous axes and without rotation, because the weights sum to one."""
    torch.manual_seed(0)
    decoder = CrossAttention(16, schema((True, True)), max_frequency=1e-9, nearest=nearest).double()
    latent = latent_at(cloud(2, 20), torch.randn(1, 1, 16).double().expand(2, 20, 16), (True, True))
    out = decoder(latent, cloud(2, 50, seed=1)[None])
    assert (out - out[:, :1]).abs().max() < 1e-10
    other = decoder(latent._replace(z=torch.randn(2, 20, 16).double()), cloud(2, 50, seed=1)[None])
    assert (other - other[:, :1]).abs().max() > 1e-4


@pytest.mark.parametrize("nearest", [None, 9])
def test_the_amplitude_of_the_tokens_reaches_the_field(nearest):
    """f ∝ z if scores do not depend on z; a norm in between would limit how small errors get."""
    torch.manual_seed(0)
    block = CrossAttention(16, schema(PLANE), nearest=nearest).double().blocks[0]
    attention = getattr(block.attention, "attention", block.attention)
    # The scores then only depend on positions.
    torch.nn.init.zeros_(attention.query.weight)
    torch.nn.init.zeros_(attention.query.bias)
    for linear in (attention.key_value, attention.out):
        torch.nn.init.zeros_(linear.bias)
    nodes = cloud(2, 20)
    y = cloud(2, 30, seed=1)
    q = torch.randn(1, 30, 16).double()
    z = torch.randn(1, 20, 16).double()
    where = {"x_q": y[None], "x_k": nodes[None], "periodic": torch.tensor(PLANE)}
    seen = []
    block.norm_mlp.register_forward_hook(lambda module, given, out: seen.append(given[0] - q))
    block(q, z, **where)
    block(q, 1000 * z, **where)
    torch.testing.assert_close(seen[1], 1000 * seen[0], rtol=1e-9, atol=1e-9)
    assert seen[0].abs().max() > 1e-2


def test_neighbors_are_the_nearest_across_periodic_boundaries():
    nodes = cloud(2, 50)
    y = cloud(2, 30, seed=1)
    index, _, window = nearest_neighbors(y[None], nodes[None], torch.tensor((True, False)), 7)
    gap = y[:, None] - nodes
    gap[..., 0] -= gap[..., 0].round()
    gap[..., 0] = torch.sin(torch.pi * gap[..., 0]) / torch.pi  # chords
    nearest = gap.square().sum(-1).argsort(-1)[:, :7]
    assert torch.equal(index[0].sort(-1).values, nearest.sort(-1).values)
    assert window.min() > 0 and window.max() < 1


def test_attention_to_the_nearest_is_attention_if_all_are_near():
    torch.manual_seed(0)
    attention = Attention(
        16, heads=2, lengths=(0.1, 0.5), max_frequency=4.0, rotate_values=True
    ).double()
    nodes = cloud(2, 20)[None]
    y = cloud(2, 30, seed=1)[None]
    q = torch.randn(2, 30, 16)
    z = torch.randn(2, 20, 16)
    given = (q.double(), z.double())
    where = {"x_q": y, "x_k": nodes, "periodic": torch.tensor((True, False))}
    whole = attention(*given, **where)
    torch.testing.assert_close(
        NearestAttention(attention, nearest=20)(*given, **where), whole, atol=1e-12, rtol=0
    )
    assert (NearestAttention(attention, nearest=5)(*given, **where) - whole).abs().max() > 1e-3


def test_attention_to_the_nearest_does_not_depend_on_the_others():
    torch.manual_seed(0)
    few, all_of_them = (CrossAttention(16, schema(PLANE), nearest=s).double() for s in (5, 99))
    all_of_them.load_state_dict(few.state_dict())
    nodes = cloud(2, 20)
    z = torch.randn(1, 20, 16).double()
    y = cloud(2, 1, seed=1)[None]
    z.requires_grad_()
    slopes = [
        torch.autograd.grad(d(latent_at(nodes, z, PLANE), y).sum(), z)[0]
        for d in (few, all_of_them)
    ]
    seen = [int((slope.abs().sum(-1) > 0).sum()) for slope in slopes]
    assert seen == [5, 20]


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor that is created, in bytes."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.bytes = max(self.bytes, out.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize("learns", [False, True])
def test_memory_of_attention_to_the_nearest_does_not_grow_with_the_tokens(learns):
    """A query stores s times the width for any number of tokens, not a score per token."""
    decoder = CrossAttention(16, schema(PLANE), nearest=4, heads=4)
    y = cloud(2, 4000, seed=1).float()[None]
    largest = {}
    for k in (400, 3200):
        latent = latent_at(cloud(2, k).float(), torch.randn(1, k, 16), PLANE)
        with torch.set_grad_enabled(learns), Largest() as seen:
            decoder(latent, y)
        largest[k] = seen.bytes
    s = 4
    heads = 4
    # Copies of keys, indices of values.
    assert largest[400] == largest[3200] <= 4000 * s * max(4 * 16, 8 * heads)


@pytest.mark.parametrize("periodic", [(True,), (False, True), (False, False), (False, True, False)])
@pytest.mark.parametrize("skip_features", [0, 3])
@pytest.mark.parametrize("nearest", [None, 5])
def test_fused_attention_is_the_attention_of_the_modules(periodic, skip_features, nearest):
    """Without gradients a fused computation is used, unless hooks watch; results are the same."""
    torch.manual_seed(0)
    d = len(periodic)
    decoder = CrossAttention(
        32, schema(periodic), skip_features=skip_features, nearest=nearest, heads=2
    ).double()
    with torch.no_grad():
        for p in decoder.parameters():
            p.add_(0.1 * torch.randn_like(p))
    latent = latent_at(cloud(d, 20), torch.randn(3, 20, 32).double(), periodic)
    u = torch.randn(3, 50, skip_features).double() if skip_features else None
    for y in (cloud(d, 50, seed=1)[None], torch.stack([cloud(d, 50, seed=s) for s in range(3)])):
        expected = decoder(latent, y, None, u).detach()
        assert expected.std() > 0.05
        with torch.no_grad(), monitored(decoder.blocks[0].mlp) as calls:
            watched = decoder(latent, y, None, u)
            assert len(calls) == 1
        with torch.no_grad():
            torch.testing.assert_close(decoder(latent, y, None, u), expected, atol=1e-13, rtol=0)
        torch.testing.assert_close(watched, expected, atol=1e-14, rtol=0)


@contextmanager
def monitored(module):
    """Records the calls of a module."""
    calls = []
    hook = module.register_forward_hook(lambda *given: calls.append(given))
    try:
        yield calls
    finally:
        hook.remove()
