"""Continuous depth: Euler steps, orders of convergence, and the accuracy of adaptive steps."""

import pytest
import torch
from helpers.physics import DIM, context, shaken

from fields.integrators.adaptive import DormandPrince
from fields.integrators.explicit import RK4, Euler, Heun
from fields.processors.attention_ode import AttentionField

UNIT = torch.tensor([0.0, 1.0], dtype=torch.float64)


def field():
    torch.manual_seed(0)
    return shaken(AttentionField(DIM), by=0.05)


def test_a_transformer_block_is_one_euler_step():
    f = field()
    z, where = context()
    with torch.no_grad():
        x, _ = Euler().step(f, 0.0, 1.0, z, where, ())
        torch.testing.assert_close(
            x, f.block(z, x_q=where.pos, periodic=where.periodic), atol=1e-12, rtol=0
        )


@pytest.mark.parametrize("method", [Euler(), Heun(), RK4()], ids=lambda m: type(m).__name__)
def test_observed_orders(method):
    f = field()
    z, where = context(6, batch=1)
    with torch.no_grad():
        ends = [method.solve(f, z, where, times=UNIT, steps=steps)[-1] for steps in (16, 32, 64)]
    assert (
        abs(torch.log2((ends[0] - ends[1]).norm() / (ends[1] - ends[2]).norm()) - method.order)
        < 0.2
    )


def test_the_adaptive_method_is_as_accurate_as_asked_and_says_so_for_each_sample():
    f = field()
    z, where = context(6)
    with torch.no_grad():
        exact = RK4().solve(f, z, where, times=UNIT, steps=128)[-1]
        found = {}
        for rtol in (1e-3, 1e-8):
            method = DormandPrince(rtol=rtol, atol=rtol / 100)
            x, report = method.step(f, 0.0, 1.0, z, where, method.init(f, z, where))
            found[rtol] = ((x - exact).norm() / exact.norm(), report.evaluations)
            assert (
                report.error.shape == (3,)
                and (report.error > 0).all()
                and (report.error <= 1).all()
            )
            assert len(set(report.error.tolist())) == 3
    assert (
        found[1e-8][0] < 1e-6
        and found[1e-8][0] < found[1e-3][0] < 1e-1
        and found[1e-8][1] > found[1e-3][1]
    )
