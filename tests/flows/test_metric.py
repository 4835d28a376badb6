"""The graph Hamiltonian with a learned metric: what a frozen metric preserves, and what not."""

import copy

import pytest
import torch
from helpers.physics import DIM, STEPS, context, half_square, march, shaken

from fields.core.sample import Latent
from fields.dynamics.base import Context
from fields.evaluation.reference_energies import reference_energy
from fields.flows.graph_hamiltonian import GraphHamiltonian
from fields.flows.metric_hamiltonian import MetricHamiltonianField
from fields.integrators.cayley import Cayley, EnergyScaledLeapfrog
from fields.nn.graph.incidence import Coboundary, split_heads


def start(n: int = 12, dtype=torch.float64):
    torch.manual_seed(0)
    f = shaken(MetricHamiltonianField(DIM), dtype=dtype)
    z, where = context(n, dtype=dtype)
    with torch.no_grad():
        return f, f.lift(z, where), where


def energy(f, x, where):
    """½(qᵀA₀q + pᵀA₁p), edge by edge, in double precision."""
    with torch.no_grad():
        return reference_energy(copy.deepcopy(f).double(), x.double(), where.double())[0]


@STEPS
@pytest.mark.parametrize(
    ("method", "h"), [(Cayley(), 0.1), (Cayley(), 5.0), (EnergyScaledLeapfrog(), 0.4)]
)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_a_frozen_metric_keeps_its_energy_and_its_mean(method, h, dtype, bound, steps):
    f, x0, where = start(dtype=dtype)
    first = energy(f, x0, where)
    *_, (x, _) = march(f, method, x0, where, h, steps)
    assert ((energy(f, x, where) - first).abs() / first).max() < bound
    assert (x - x0).norm() > 0.1 * x0.norm()
    assert (
        (half_square(x) - half_square(x0)).abs() / half_square(x0)
    ).max() > 1e-2  # not an invariant here
    if isinstance(method, Cayley):
        mass = f.metric(where).nodes.double() ** 2
        mean, moved = ((mass * split_heads(f.project(y).double(), f.heads)).sum(2) for y in (x0, x))
        assert (moved - mean).abs().max() < (1e-11 if dtype == torch.float64 else 1e-3)


def test_a_metric_that_moves_with_the_tokens_keeps_nothing():
    f, x, where = start()
    first = energy(f, x, where)
    for _ in range(20):
        moving = where._replace(origin=f.project(x))
        x, _ = next(march(f, Cayley(), x, moving, 0.5, 1))
    assert ((energy(f, x, where._replace(origin=f.project(x))) - first).abs() / first).max() > 1e-2


def test_the_codifferential_is_the_adjoint_and_the_field_is_its_formula(monkeypatch):
    f, x, where = start()
    metric = f.metric(where)
    q, p = f.split(x)
    velocity = f(0.0, x, where)
    dq, dp = f.split(velocity)
    ends = f.nearest(where.distance2).flatten(1)[0]
    starts = torch.arange(12).repeat_interleave(6)
    torch.testing.assert_close(
        dp, q[:, ends] - q[:, starts], atol=1e-12, rtol=0
    )  # δq, edge by edge
    q, dq, p, dp = (split_heads(part, f.heads) for part in (q, dq, p, dp))
    inner = ((metric.nodes**2 * q * dq).sum((1, 2, 3)), -(metric.edges**2 * p * dp).sum((1, 2, 3)))
    torch.testing.assert_close(
        *inner, atol=1e-10, rtol=1e-12
    )  # ⟨q, δ*p⟩ = ⟨δq, p⟩ in the metric's inner products
    monkeypatch.setattr(Coboundary, "down", lambda self, p: -(self.matrix.mT @ p))
    first = energy(f, x, where)
    *_, (far, _) = march(f, Cayley(), x, where, 0.5, 5)
    assert (energy(f, far, where) > 1.001 * first).any()


def test_numbers_of_nodes_do_not_matter():
    f, x, where = start()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    other = Context.of(Latent(where.origin[:, order], where.pos[:, order], where.periodic))
    step = lambda x, where: f.project(next(march(f, Cayley(), x, where, 0.5, 1))[0])  # noqa: E731
    with torch.no_grad():
        torch.testing.assert_close(
            step(f.lift(other.origin, other), other),
            step(x, where)[:, order],
            atol=1e-12,
            rtol=1e-12,
        )


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_few_tokens_make_a_complete_graph(n):
    f, x, where = start(n)
    assert [part.shape[1] for part in f.split(x)] == [n, n * min(6, n - 1)]
    torch.testing.assert_close(f.project(x), where.origin)


def test_a_moving_metric_and_a_missing_context_are_refused():
    with pytest.raises(ValueError, match='Use metric="frozen"'):
        GraphHamiltonian(DIM, metric="moving")
    with pytest.raises(ValueError, match=r"Give `Context.of\(latent\)`"):
        MetricHamiltonianField(DIM)(0.0, torch.zeros(1, 4, DIM), Context())
