"""Graph flows: energy constant, decreasing or turned into heat, as attention changes."""

import pytest
import torch
from helpers.physics import DIM, STEPS, context, half_square, march, shaken

from fields.flows.double_bracket import CoupledBracket, DoubleBracketField, SplitBracket
from fields.flows.graph_hamiltonian import GraphHamiltonianField
from fields.flows.metriplectic import MetriplecticField, MetriplecticStep
from fields.integrators.cayley import Cayley, EnergyScaledLeapfrog, cayley_rotation
from fields.nn.graph.incidence import Coboundary

EDGES = pytest.mark.parametrize("edges", [None, 5])


def field(cls=GraphHamiltonianField, dtype=torch.float64, **options):
    torch.manual_seed(0)
    return shaken(cls(DIM, **options), dtype=dtype)


def start(f, n: int = 12, batch: int = 3, dtype=torch.float64):
    z, where = context(n, batch, dtype)
    with torch.no_grad():
        return f.lift(z, where), where


def dense(d: Coboundary) -> torch.Tensor:
    """L as one matrix per head, from its definition."""
    n = d.matrix.shape[-1]
    rows = torch.cat(
        [torch.zeros_like(d.matrix[..., :1, :]).expand(*d.matrix.shape[:2], n, n), -d.matrix.mT],
        dim=-1,
    )
    return torch.cat(
        [rows, torch.cat([d.matrix, torch.zeros_like(d.matrix @ d.matrix.mT)], dim=-1)], dim=-2
    )


@STEPS
@EDGES
@pytest.mark.parametrize("h", [0.1, 0.5, 5.0])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_cayley_keeps_the_energy_at_every_step(edges, h, dtype, bound, steps):
    f = field(dtype=dtype, edges=edges)
    x0, where = start(f, dtype=dtype)
    energy = half_square(x0)
    assert energy.std() > 0.1 * energy.mean()
    states = [x for x, _ in march(f, Cayley(), x0, where, h, steps)]
    assert max(float(((half_square(x) - energy).abs() / energy).max()) for x in states) < bound
    assert (states[19] - x0).norm() > 0.1 * x0.norm()


@STEPS
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("h", [0.1, 0.4, 1.0])
def test_energy_scaled_leapfrog_preserves_it_without_a_solve(h, dtype, bound, steps):
    f = field(dtype=dtype)
    x0, where = start(f, dtype=dtype)
    energy = half_square(x0)
    *_, (x, _) = march(f, EnergyScaledLeapfrog(), x0, where, h, steps)
    assert ((half_square(x) - energy).abs() / energy).max() < bound


@pytest.mark.parametrize(
    "method", [Cayley(), SplitBracket(), CoupledBracket()], ids=lambda m: type(m).__name__
)
def test_a_flipped_sign_breaks_the_law(method, monkeypatch):
    f = field(GraphHamiltonianField if isinstance(method, Cayley) else DoubleBracketField)
    x0, where = start(f)
    monkeypatch.setattr(Coboundary, "down", lambda self, p: -(self.matrix.mT @ p))
    *_, (x, _) = march(f, method, x0, where, 0.5, 5)
    assert (half_square(x) > 1.001 * half_square(x0)).any()


@pytest.mark.parametrize(
    "edges", [None, 5, 20]
)  # the solve is on the edges, or on the nodes where they are fewer
def test_cayley_is_the_dense_cayley_transform_on_either_side(edges):
    f = field(edges=edges)
    x0, where = start(f)
    d, q, p = f.to_frame(x0, where)
    skew = dense(d)
    x = torch.cat([q, p], dim=2)
    one = torch.eye(skew.shape[-1], dtype=skew.dtype)
    expected = torch.linalg.inv(one - 0.35 * skew) @ (one + 0.35 * skew) @ x
    actual = torch.cat(cayley_rotation(d, torch.tensor(0.7, dtype=q.dtype), q, p), dim=2)
    torch.testing.assert_close(actual, expected, atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(skew, -skew.mT, atol=0, rtol=0)
    assert (
        (actual.square().sum((-2, -1)) - x.square().sum((-2, -1))) / x.square().sum((-2, -1))
    ).abs().max() < 1e-13


@pytest.mark.parametrize(("method", "order"), [(Cayley(), 1), (Cayley(midpoint=True), 2)])
def test_orders(method, order):
    f = field()
    x0, where = start(f)
    ends = [list(march(f, method, x0, where, 1 / steps, steps))[-1][0] for steps in (16, 32, 64)]
    assert abs(torch.log2((ends[0] - ends[1]).norm() / (ends[1] - ends[2]).norm()) - order) < 0.2


def test_gradients_pass_a_frozen_operator_unchanged():
    f = field(frozen=True)
    x0, where = start(f)
    where = where._replace(origin=where.origin.detach())
    x0 = x0.clone().requires_grad_()
    *_, (x, _) = march(f, Cayley(), x0, where, 0.5, 50)
    seed = torch.randn_like(x)
    (grad,) = torch.autograd.grad(x, x0, seed)
    assert abs(grad.norm() / seed.norm() - 1) < 1e-9


@pytest.mark.parametrize(
    ("cls", "method"),
    [
        (GraphHamiltonianField, Cayley()),
        (DoubleBracketField, SplitBracket()),
        (DoubleBracketField, CoupledBracket()),
        (MetriplecticField, MetriplecticStep()),
    ],
)
def test_an_equilibrium_is_kept(cls, method):
    f = field(cls)
    x0, where = start(f, n=1)  # one token: head and tail of its edge coincide, L = 0
    x1, _ = next(march(f, method, x0, where, 5.0, 1))
    torch.testing.assert_close(x1, x0, atol=1e-14, rtol=0)


@STEPS
@EDGES
@pytest.mark.parametrize(
    ("method", "h"),
    [
        (SplitBracket(), 50.0),
        (SplitBracket(), 0.5),
        (CoupledBracket(), 0.1),
        (CoupledBracket(), 1.0),
        (CoupledBracket(), 5.0),
    ],
)
def test_double_bracket_never_gains_energy(edges, method, h, steps):
    f = field(DoubleBracketField, edges=edges)
    x0, where = start(f)
    energy = first = half_square(x0)
    for x, _ in march(f, method, x0, where, h, steps):
        new = half_square(x)
        assert (new - energy <= 1e-13 * first).all()
        energy = new
    assert (energy < 0.99 * first).all()


def test_coupled_bracket_loses_exactly_what_it_should():
    f = field(DoubleBracketField)
    x0, where = start(f)
    h = 0.7
    gamma = f.damping().item()
    x1, _ = next(march(f, CoupledBracket(), x0, where, h, 1))
    d, q, p = f.to_frame(x0, where)
    _, q1, p1 = f.to_frame(x1, where)  # in the same frame
    loss = (
        h
        * gamma
        * (half_square(2 * d.up((q + q1) / 2)) + half_square(2 * d.down((p + p1) / 2)))
        / 2
    )
    torch.testing.assert_close(
        half_square(x0) - half_square(x1), loss.double(), atol=1e-12, rtol=1e-12
    )


def test_no_damping_is_the_hamiltonian_bit_by_bit():
    bracket = DoubleBracketField(DIM, gamma=0.0, learned=False).double()
    wave = GraphHamiltonianField(DIM).double()
    wave.incidence.load_state_dict(bracket.incidence.state_dict())
    x0, where = start(wave)
    a = next(march(bracket, SplitBracket(), x0, where, 0.5, 1))[0]
    b = next(march(wave, Cayley(), x0, where, 0.5, 1))[0]
    assert torch.equal(a, b)


@STEPS
@EDGES
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_metriplectic_keeps_energy_and_makes_entropy(edges, dtype, bound, steps):
    f = field(MetriplecticField, dtype=dtype, edges=edges)
    x0, where = start(f, dtype=dtype)
    total = lambda x: half_square(x[..., :DIM]) + x[..., DIM].double().sum(-1)  # noqa: E731
    entropy = lambda x: x[..., DIM].double().log().sum(-1)  # noqa: E731
    before = x0
    for x, _ in march(f, MetriplecticStep(), x0, where, 0.5, steps):
        assert (x[..., DIM] > 0).all() and (entropy(x) - entropy(before) >= -1e-14).all()
        before = x
    assert ((total(x) - total(x0)).abs() / total(x0)).max() < bound
    assert (half_square(x[..., :DIM]) < 0.9 * half_square(x0[..., :DIM])).all()


def test_metriplectic_is_generic_and_its_velocity_is_the_limit_of_its_step():
    f = field(MetriplecticField)
    x0, where = start(f)
    v = f(0.0, x0, where)
    energy_rate = (v[..., :DIM] * x0[..., :DIM]).sum((-2, -1)) + v[..., DIM].sum(-1)
    assert energy_rate.abs().max() < 1e-12 and (v[..., DIM] >= 0).all()
    h = 1e-6
    x1, _ = next(march(f, MetriplecticStep(), x0, where, h, 1))
    torch.testing.assert_close((x1 - x0) / h, v, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("cls", "method"),
    [
        (GraphHamiltonianField, Cayley()),
        (DoubleBracketField, SplitBracket()),
        (DoubleBracketField, CoupledBracket()),
    ],
)
def test_velocity_is_the_limit_of_the_step(cls, method):
    f = field(cls)
    x0, where = start(f)
    x1, _ = next(march(f, method, x0, where, 1e-6, 1))
    torch.testing.assert_close((x1 - x0) / 1e-6, f(0.0, x0, where), atol=1e-4, rtol=1e-4)


@EDGES
def test_edges_start_at_rest(edges):
    """The energy at the start is that of the tokens, |z|²/2."""
    z = torch.randn(2, 7, 8, dtype=torch.float64)
    f = GraphHamiltonianField(8, edges=edges).double()
    state = f.lift(z)
    assert state.shape[1] == 7 + (edges or 7) and torch.equal(f.project(state), z)
    torch.testing.assert_close(f.energy(state), 0.5 * z.square().sum((1, 2)))
