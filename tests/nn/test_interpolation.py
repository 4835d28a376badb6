"""Attention contains finite-element interpolation."""

import numpy as np
import torch
from scipy.spatial import Delaunay

from fields.nn.attention.kernels import attention_kernel


def interpolate(log_phi, values):
    """Σᵢ φᵢ(x) yᵢ by attention with zero queries and keys and the score log φᵢ."""
    m, k = log_phi.shape
    q = torch.zeros(1, 1, m, 4).double()
    keys = torch.zeros(1, 1, k, 4).double()
    return attention_kernel(q, keys, values[None, None], bias=log_phi[None, None])[0, 0]


def hats(x, nodes):
    """φᵢ on a line, nodes in increasing order."""
    left = torch.cat([nodes[:1] - 1, nodes[:-1]])
    right = torch.cat([nodes[1:], nodes[-1:] + 1])
    rise = (x[:, None] - left) / (nodes - left)
    fall = (right - x[:, None]) / (right - nodes)
    return torch.minimum(rise, fall).clamp_min(0)


def test_hats_on_a_line_reproduce_interpolation():
    nodes, _ = torch.rand(9).double().sort()
    x = nodes[0] + (nodes[-1] - nodes[0]) * torch.rand(200).double()
    values = torch.randn(9, 1).double()
    out = interpolate(hats(x, nodes).log(), values)[:, 0]
    assert np.abs(out.numpy() - np.interp(x, nodes, values[:, 0])).max() < 1e-12
    linear = (3 * nodes - 1)[:, None]
    assert (interpolate(hats(x, nodes).log(), linear)[:, 0] - (3 * x - 1)).abs().max() < 1e-13
    gaussian = -(x[:, None] - nodes).square() / (2 * 0.1**2)
    assert (interpolate(gaussian, linear)[:, 0] - (3 * x - 1)).abs().max() > 1e-3


def test_barycentric_coordinates_on_triangles_reproduce_planes():
    rng = np.random.default_rng(0)
    nodes = rng.random((30, 2))
    x = 0.3 + 0.4 * rng.random((100, 2))
    mesh = Delaunay(nodes)
    cell = mesh.find_simplex(x)
    affine = mesh.transform[cell]
    two = np.einsum("mij,mj->mi", affine[:, :2], x - affine[:, 2])
    phi = np.zeros((100, 30))
    np.put_along_axis(phi, mesh.simplices[cell], np.c_[two, 1 - two.sum(1)], axis=1)
    out = interpolate(
        torch.tensor(phi).clamp_min(0).log(), torch.tensor(2 * nodes[:, :1] - nodes[:, 1:] + 0.5)
    )
    assert np.abs(out[:, 0].numpy() - (2 * x[:, 0] - x[:, 1] + 0.5)).max() < 1e-13
