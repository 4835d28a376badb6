"""The physical energy: tokens preserve the L2 energy of the decoded field."""

import pytest
import torch
from helpers.physics import DIM, context, half_square, march, shaken
from problems import schema

from fields.core.sample import Latent
from fields.decoders.cpwl import CPWL
from fields.decoders.galerkin import Galerkin, quadrature
from fields.evaluation.verify import verify
from fields.flows.graph_hamiltonian import GraphHamiltonian
from fields.flows.isometry import Isometry, SkewAttentionField, SkewCayley
from fields.nn.embeddings import grid_points

SIDES = (True, False)


def tokens(dtype=torch.float64) -> Latent:
    z, where = context(dtype=dtype)
    return Latent(z, where.pos, torch.tensor(SIDES))


def decoder() -> Galerkin:
    torch.manual_seed(1)
    return Galerkin(DIM, schema(SIDES)).double()


def test_the_basis_is_orthonormal_and_spans_the_hats():
    latent = tokens()
    psi = decoder().on_grid(latent)[0]
    torch.testing.assert_close(psi.mT @ psi / len(psi), torch.eye(12).double(), atol=1e-12, rtol=0)
    one = psi @ (psi.mT.mean(1))  # the projection of the constant, which hats reproduce
    torch.testing.assert_close(one, torch.ones_like(one), atol=1e-11, rtol=0)


@pytest.mark.parametrize("steps", [8, pytest.param(250, marks=pytest.mark.slow)])
def test_the_energy_of_the_decoded_field_is_constant(steps):
    processor = shaken(Isometry(DIM))
    show = decoder()
    latent = tokens()
    y = quadrature(latent)[None]
    energies = []
    states = []
    with torch.no_grad():
        for current in list(processor.flow_states(latent, passes=steps))[:: max(1, steps // 4)]:
            field = show(latent._replace(z=current.state), y)
            energies.append(
                sum(0.5 * float((f**2).mean()) for f in field[..., 0])
            )  # ½ ∫ f², all samples
            states.append(current.state)
    assert max(abs(e - energies[0]) for e in energies) < 1e-10 * energies[0]
    assert (states[-1] - states[0]).norm() > 0.5 * states[0].norm()
    torch.testing.assert_close(
        torch.tensor(energies[0]), half_square(latent.z @ show.value.weight.mT).sum().float()
    )


def test_a_finer_quadrature_agrees_and_times_do_too():
    processor = shaken(Isometry(DIM))
    show = decoder()
    latent = tokens()._replace(pos=grid_points((4, 3))[None].double())
    with torch.no_grad():
        out = processor(latent, None, torch.tensor([0.5, 2.0, 7.5]))
        assert (
            show.energy(out).reshape(3, 3) / show.energy(latent)[:, None] - 1
        ).abs().max() < 1e-12
        fine = torch.cartesian_prod(*(2 * [(torch.arange(96).double() + 0.5) / 96 - 0.5]))[None]
        close = 0.5 * show(latent, fine).square().mean((1, 2))  # the same integral by another rule
        assert (close / show.energy(latent) - 1).abs().max() < 0.02


@pytest.mark.parametrize("h", [0.1, 5.0])
def test_the_step_is_the_dense_cayley_transform_and_keeps_all_of_the_gram_matrix(h, monkeypatch):
    f = shaken(SkewAttentionField(DIM))
    z, where = context()
    x, _ = next(march(f, SkewCayley(), z, where, h, 1))
    a = f.matrix(z, where)
    one = torch.eye(12).double()
    assert (a + a.mT == 0).all() and a.abs().max() > 0.05
    torch.testing.assert_close(
        x, torch.linalg.solve(one - h / 2 * a, (one + h / 2 * a) @ z), atol=1e-12, rtol=1e-12
    )
    torch.testing.assert_close(x.mT @ x, z.mT @ z, atol=1e-12, rtol=1e-12)
    symmetric = a.abs()
    monkeypatch.setattr(
        SkewAttentionField, "matrix", lambda *_: symmetric
    )  # the sign that makes A skew is what keeps it
    x, _ = next(march(f, SkewCayley(), z, where, h, 1))
    assert ((half_square(x) - half_square(z)).abs() / half_square(z)).max() > 1e-3


def test_verify_judges_the_field_and_refuses_what_has_no_such_energy():
    processor = shaken(Isometry(DIM), dtype=torch.float32)
    show = decoder()
    latent = tokens(torch.float32)
    certificate = verify(processor, latent, steps=12, decoder=show)
    assert certificate.passed and "L2 energy of the decoded field" in str(certificate)
    with pytest.raises(ValueError, match=r"`CPWL` does not make .* Use `fields.decoders.Galerkin`"):
        verify(processor, latent, steps=4, decoder=CPWL(DIM, schema(SIDES)))
    with pytest.raises(
        ValueError, match=r"`GraphHamiltonian` passes energy .* Use `fields.flows.Isometry`"
    ):
        verify(GraphHamiltonian(DIM), latent, steps=4, decoder=show)
