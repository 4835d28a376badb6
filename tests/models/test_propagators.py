"""Codes in time: semigroups, unequal intervals, orders, invariants."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from fields.core.sample import Latent
from fields.flows.double_bracket import DoubleBracket
from fields.flows.graph_hamiltonian import GraphHamiltonian
from fields.flows.hamiltonian import Hamiltonian
from fields.flows.metriplectic import Metriplectic
from fields.integrators.explicit import RK4, Euler, Heun
from fields.models.propagators import Autoregressive, LatentFlow, TimeConditioned
from fields.processors.attention_ode import AttentionField, AttentionODE
from fields.processors.block import FlowBlock
from fields.processors.stack import Stack
from fields.processors.transformer import Transformer

DIM = 16


@pytest.fixture
def latent() -> Latent:
    torch.manual_seed(1)
    pos = (torch.arange(4, dtype=torch.float64)[None, :, None] + 0.5) / 4 - 0.5
    return Latent(torch.randn(2, 4, DIM, dtype=torch.float64), pos, torch.tensor([True]))


@pytest.mark.parametrize("kind", ["step", "flow"])
def test_codes_follow_from_codes(kind, latent):
    """z(3) of one rollout is z(1) of a rollout from z(2): the code is a state."""
    torch.manual_seed(0)
    processor = Transformer(DIM, depth=1) if kind == "step" else AttentionODE(DIM, depth=1)
    model = (Autoregressive if kind == "step" else LatentFlow)(DIM, processor).double()
    two, three = model.at(latent, None, [2.0, 3.0])
    (again,) = model.at(two, None, [1.0])
    torch.testing.assert_close(again.z, three.z, rtol=1e-12, atol=1e-12)
    assert (three.z - two.z).norm() > 0.1 * two.z.norm()


def test_rounding_of_single_precision_times_adds_no_step(latent):
    """Frame 31 minus frame 30 is 1.0000019 in single precision, and must remain one step."""
    torch.manual_seed(0)
    calls = []
    model = Autoregressive(DIM, Transformer(DIM, depth=1)).double()
    model.processor.register_forward_hook(lambda *_: calls.append(1))
    times = (torch.arange(1, 401).float() * 0.1).double() / 0.1
    list(model.at(latent, None, times.tolist()))
    assert len(calls) == 400


def test_long_intervals_are_divided_into_equal_steps_conditioned_on_their_length(latent):
    torch.manual_seed(0)
    model = Autoregressive(DIM, Transformer(DIM, depth=1)).double()
    seen = []
    model.processor.register_forward_pre_hook(lambda _, args: seen.append(args[1].clone()))
    torch.nn.init.ones_(model.stride.weight)
    list(model.at(latent, None, [0.0, 1.5]))
    assert [round(shift[0, 0].item(), 6) for shift in seen] == [-0.25, -0.25]  # 0.75 − 1
    seen.clear()
    model.longest = 2.0
    # One step of half a frame, one of two frames, two of one and a half.
    list(model.at(latent, None, [0.5, 2.5, 5.5]))
    assert [round(shift[0, 0].item(), 6) for shift in seen] == [-0.5, 1.0, 0.5, 0.5]


def test_unequal_steps_are_learned_where_steps_may_be_longer_than_a_frame(latent):
    """Steps of several frames give the weights of Δ a gradient; steps of one frame do not."""
    torch.manual_seed(0)
    for longest, learned in ((1.0, False), (3.0, True)):
        model = Autoregressive(DIM, Transformer(DIM, depth=1), longest=longest).double()
        list(model.at(latent, None, [1.0, 3.0, 6.0]))[-1].z.square().sum().backward()
        grad = model.stride.weight.grad
        assert bool(grad is not None and grad.abs().max() > 0) is learned


def test_times_between_frames_warn_where_training_has_seen_none(latent):
    model = Autoregressive(DIM, Transformer(DIM, depth=1)).double().eval()
    with pytest.warns(UserWarning, match="times between frames are not reliable"):
        list(model.at(latent, None, [0.5]))
    with warnings.catch_warnings(action="error"):
        model.start(latent, None)
    # Whole frames with rounding errors neither warn nor train the weights of Δ.
    times = (torch.arange(1, 400).float() * 0.1).double() / 0.1
    z = list(model.train().at(latent, None, times[-3:].tolist()))[-1].z
    z.square().sum().backward()
    assert model.stride.weight.grad is None or not model.stride.weight.grad.any()


def test_time_conditioned_codes_are_independent_of_each_other(latent):
    torch.manual_seed(0)
    model = TimeConditioned(DIM, Transformer(DIM, depth=1)).double()
    a = list(model.at(latent, None, [0.5, 2.0, 7.0]))
    (b,) = model.at(latent, None, [2.0])
    torch.testing.assert_close(a[1].z, b.z, rtol=0, atol=0)
    assert (a[0].z - a[2].z).abs().max() > 1e-3


def test_latent_flow_refuses_processors_that_are_not_flows():
    with pytest.raises(ValueError, match=r"Transformer is not.*AttentionODE"):
        LatentFlow(DIM, Transformer(DIM, depth=1))


@pytest.mark.parametrize(("integrator", "order"), [(Euler, 1), (Heun, 2), (RK4, 4)])
def test_halving_the_step_changes_the_answer_by_the_order(integrator, order, latent):
    """Between and beyond stored frames the answer is the flow's, up to h^order."""
    torch.manual_seed(0)
    field = AttentionField(DIM, heads=4, ratio=2.0).double()

    def answer(steps: int) -> torch.Tensor:
        block = FlowBlock(field=field, integrator=integrator(), steps=steps, h=0.5 / steps).double()
        # The step in double precision, so that its rounding does not hide the order.
        block.step_logit.data = torch.tensor(0.5 / steps, dtype=torch.float64).logit()
        flow = LatentFlow(DIM, Stack([block]))
        with torch.no_grad():
            return torch.cat([code.z for code in flow.at(latent, None, [0.4, 1.0, 2.5])])

    exact = answer(64)
    errors = [(answer(steps) - exact).norm() for steps in (2, 4)]
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.2


def test_energy_is_constant_at_unequal_times(latent):
    torch.manual_seed(0)
    processor = Hamiltonian(DIM, depth=1, steps=2).double()
    flow = LatentFlow(DIM, processor)
    energy = processor.blocks[0].field.energy
    context = processor._start(latent, None)[0]
    values = torch.stack(
        [energy(code.z, context) for code in flow.at(latent, None, [0.0, 0.3, 1.0, 7.5, 200.0])]
    )
    assert ((values - values[0]).abs() / values[0].abs()).max() < 1e-12
    codes = list(flow.at(latent, None, [0.0, 7.5]))
    assert (codes[1].z - codes[0].z).norm() > 0.1 * codes[0].z.norm()


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "slack"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("cls", [GraphHamiltonian, DoubleBracket, Metriplectic])
def test_repeated_steps_of_graph_flows_never_increase_the_norm_of_the_tokens(
    cls, dtype, slack, latent
):
    """Edges start each step at rest, so |z|² can only decrease; a transformer's increases."""

    def sizes(processor) -> torch.Tensor:
        for parameter in processor.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model = Autoregressive(DIM, processor).to(dtype).eval()
        start = latent._replace(z=latent.z.to(dtype), pos=latent.pos.to(dtype))
        return torch.stack(
            [code.z.double().square().sum((1, 2)) for code in model.at(start, None, range(100))]
        )

    torch.manual_seed(0)
    size = sizes(cls(DIM, depth=2, heads=2))
    assert (size.diff(dim=0) <= slack * size[0]).all() and (size[-1] < 0.99 * size[0]).all()
    assert (sizes(Transformer(DIM, depth=2)).diff(dim=0) > 0.01).any()
