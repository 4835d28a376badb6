"""What every processor must do, found by walking: a new one is tested with no list to edit."""

import copy
import inspect
import json

import pytest
import torch
from helpers.states import conditioning, permuted, tokens
from helpers.walk import DIM, TOKENS, build, label, options, processors

from fields.core.component import build as build_component
from fields.dynamics.base import Invariant
from fields.evaluation.verify import verify
from fields.processors.stack import Stack

PROCESSORS = pytest.mark.parametrize("cls", processors(), ids=label)
STACKS = pytest.mark.parametrize(
    "cls", [c for c in processors() if issubclass(c, Stack)], ids=label
)


def test_the_walk_finds_the_shipped_ones():
    assert {"GAT", "Hamiltonian", "GradientFlow"} <= {c.__name__ for c in processors()}


@PROCESSORS
def test_the_order_of_tokens_matters_as_declared(cls):
    processor = build(cls)
    latent = tokens()
    other, order = permuted(latent, processor.permutation_equivariant)
    a = processor(latent).z[:, order]
    b = processor(other).z
    torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)
    assert (a - other.z).norm() > 0.01 * latent.z.norm()
    if not processor.permutation_equivariant:
        shuffled, order = permuted(latent, True)
        assert (processor(shuffled).z - processor(latent).z[:, order]).abs().max() > 1e-6


@PROCESSORS
def test_samples_do_not_see_each_other_and_one_token_is_enough(cls):
    processor = build(cls)
    latent = tokens()
    single = processor(latent._replace(z=latent.z[1:2])).z
    torch.testing.assert_close(processor(latent).z[1:2], single, atol=1e-12, rtol=1e-12)
    if processor.permutation_equivariant:
        assert processor(tokens(n=1)).z.isfinite().all()


@PROCESSORS
def test_positions_matter_as_declared_and_periods_do_not(cls):
    processor = build(cls)
    latent = tokens()
    z = processor(latent).z
    moved = latent._replace(pos=latent.pos.flip(1))
    assert ((processor(moved).z - z).abs().max() > 1e-6) == processor.uses_positions
    period = latent._replace(pos=latent.pos + torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(processor(period).z, z, atol=1e-9, rtol=1e-9)


@PROCESSORS
def test_conditioning_changes_the_answer(cls):
    processor = build(cls)
    latent = tokens()
    assert (processor(latent, conditioning()).z - processor(latent).z).abs().max() > 1e-6


@STACKS
@pytest.mark.parametrize("by", [0.0, 0.5])
@pytest.mark.parametrize("steps", [24, pytest.param(1000, marks=pytest.mark.slow)])
def test_its_law_holds_at_every_step_in_both_precisions(cls, by, steps):
    processor = build(cls, torch.float32, by)
    cond = conditioning(dtype=torch.float32)
    certificate = verify(processor, tokens(dtype=torch.float32), cond, steps=steps)
    if processor.law is Invariant.NONE:
        assert "no exact law" in certificate.verdict
    else:
        assert certificate.passed and certificate.independent, str(certificate)


@PROCESSORS
def test_weights_and_arguments_are_read_back_as_they_were_written(cls):
    processor = build(cls)
    latent = tokens()
    description = json.loads(json.dumps(processor.describe()))
    again = build_component(description).double()
    assert type(again) is cls and again.describe() == description
    again.load_state_dict(processor.state_dict())
    assert torch.equal(again(latent).z, processor(latent).z)


@PROCESSORS
def test_gradients_reach_every_parameter_after_two_updates(cls):
    torch.manual_seed(0)
    processor = cls(DIM, **options(cls))
    latent = tokens(dtype=torch.float32)
    target = torch.randn(3, 12, DIM)
    optimizer = torch.optim.SGD(processor.parameters(), lr=1e-2)
    cond = torch.randn(3, DIM)
    for _ in range(3):
        optimizer.zero_grad()
        (processor(latent, cond).z - target).square().mean().backward()
        optimizer.step()
    dead = [
        name
        for name, p in processor.named_parameters()
        if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert not dead, f"no gradient reaches {dead}"


@PROCESSORS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_inference_mode(cls, dtype):
    processor = build(cls, dtype)
    latent = tokens(dtype=dtype)
    expected = processor(latent).z
    assert expected.dtype == dtype
    with torch.inference_mode():
        torch.testing.assert_close(processor(latent).z, expected)
    assert processor(latent).pos is latent.pos


@STACKS
def test_recomputing_instead_of_saving_gives_the_same_gradients(cls):
    latent = tokens()
    grads = []
    for recompute in (False, True):
        processor = build(cls)
        processor.recompute = recompute
        processor(latent).z.square().sum().backward()
        grads.append(
            torch.cat([p.grad.flatten() for p in processor.parameters() if p.grad is not None])
        )
    torch.testing.assert_close(*grads, atol=1e-12, rtol=1e-12)


@PROCESSORS
def test_gradients_are_those_of_finite_differences(cls):
    processor = build(cls)
    latent = tokens(batch=1, n=5 if processor.permutation_equivariant else TOKENS)
    assert torch.autograd.gradcheck(
        lambda z: processor(latent._replace(z=z)).z, latent.z.requires_grad_(), fast_mode=True
    )


@PROCESSORS
def test_half_precision_training_keeps_the_state_in_single(cls):
    processor = build(cls, torch.float32)
    latent = tokens(dtype=torch.float32)
    exact = processor(latent).z
    double = (
        copy.deepcopy(processor)
        .double()(latent._replace(z=latent.z.double(), pos=latent.pos.double()))
        .z
    )
    assert (exact - double).norm() < 1e-4 * double.norm()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = processor(latent).z
    assert out.dtype == torch.float32 and (out - exact).norm() < 0.1 * exact.norm()


@STACKS
def test_answers_at_several_times_are_stacked(cls):
    processor = build(cls)
    latent = tokens()
    t = torch.tensor([0.5, 1.0, 2.5], dtype=torch.float64)
    z = processor(latent, None, t).z
    assert z.shape == (9, 12, DIM)
    torch.testing.assert_close(z[::3], processor(latent, None, t[:1]).z)
    assert (z[1] - z[2]).abs().max() > 1e-4


@pytest.mark.slow
@PROCESSORS
def test_compiles_as_one_graph_forwards_and_backwards(cls):
    torch._dynamo.reset()
    shallow = {"depth": 1} if "depth" in inspect.signature(cls).parameters else {}
    processor = build(cls, torch.float32, **shallow)
    latent = tokens(dtype=torch.float32)

    def run(forward):
        z = latent.z.clone().requires_grad_()
        cond = torch.ones(3, DIM)
        out = forward(latent._replace(z=z), cond).z
        return out.detach(), *torch.autograd.grad(out.square().mean(), [z, *processor.parameters()])

    compiled = torch.compile(
        processor, fullgraph=True, backend="aot_eager"
    )  # traces the backward pass too
    torch.testing.assert_close(run(compiled), run(processor), atol=1e-6, rtol=1e-5)
