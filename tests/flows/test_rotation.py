"""Channel mixing: rotations are orthogonal, tokens stay on their spheres."""

import pytest
import torch
from helpers.physics import DIM, context, shaken

from fields.nn.rotation import Reaction, Rotation, SphereMLP


@pytest.mark.parametrize("cls", [Rotation, SphereMLP], ids=lambda c: c.__name__)
@pytest.mark.parametrize("steps", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_token_keeps_its_norm(cls, steps):
    mix = shaken(cls(DIM), by=1.0)
    z, _ = context()
    x = z
    with torch.no_grad():
        for _ in range(steps):
            x = mix(x)
    assert ((x * x).sum(-1) / (z * z).sum(-1) - 1).abs().max() < 1e-12 and (
        x - z
    ).norm() > 0.1 * z.norm()


@pytest.mark.parametrize("tau", [0.25, 1.0])
def test_rotation_is_orthogonal_and_a_fraction_of_it_is_the_root_to_second_order(tau):
    r = shaken(Rotation(DIM)).matrix(tau)
    torch.testing.assert_close(r @ r.mT, torch.eye(DIM).double(), atol=1e-12, rtol=0)
    small = shaken(Rotation(DIM, spread=1e-3), by=1e-3)
    torch.testing.assert_close(
        small.matrix(0.5) @ small.matrix(0.5), small.matrix(1.0), atol=1e-6, rtol=0
    )


def test_a_radial_push_does_nothing_and_gradients_are_finite_there():
    sphere = SphereMLP(DIM).double()
    z, _ = context()
    x = z.clone().requires_grad_()
    moved = sphere.along(x, 3 * x, 1.0)
    torch.testing.assert_close(moved, x, atol=1e-12, rtol=0)
    moved.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    nothing = torch.zeros_like(z).requires_grad_()
    still = sphere.along(nothing, z, 1.0)
    still.sum().backward()
    assert (still == 0).all() and nothing.grad is not None and nothing.grad.isfinite().all()


@pytest.mark.parametrize("cls", [SphereMLP, Reaction], ids=lambda c: c.__name__)
def test_what_starts_at_zero_is_the_identity(cls):
    mix = cls(DIM).double()
    z, where = context()
    torch.testing.assert_close(mix(z, where.origin), z, atol=1e-13, rtol=0)


@pytest.mark.parametrize("cls", [Rotation, SphereMLP], ids=lambda c: c.__name__)
def test_gradients_are_those_of_finite_differences_though_the_norm_is_put_back_without_one(cls):
    mix = shaken(cls(4), by=0.5)
    z, _ = context()
    tau = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    names, values = zip(
        *((n, p.detach().requires_grad_()) for n, p in mix.named_parameters()), strict=True
    )

    def moved(x, tau, *values):
        arguments = (x, tau) if cls is Rotation else (x, None, tau)
        return torch.func.functional_call(mix, dict(zip(names, values, strict=True)), arguments)

    assert torch.autograd.gradcheck(moved, (z[:1, :3, :4].clone().requires_grad_(), tau, *values))
