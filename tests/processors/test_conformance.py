"""What every processor must do, found by walking ``fields.processors``: a new one is tested without editing this file."""

import copy
import importlib
import inspect
import pkgutil

import pytest
import torch

import fields.processors
from fields.core.sample import Latent
from fields.processors.base import Processor
from fields.processors.flow import Flow
from fields.processors.stack import Stack

DIM = 16


def all_processors() -> list[type[Processor]]:
    modules = [
        importlib.import_module(m.name)
        for m in pkgutil.iter_modules(fields.processors.__path__, "fields.processors.")
    ]
    found = {
        c
        for m in modules
        for c in vars(m).values()
        if inspect.isclass(c) and issubclass(c, Processor)
    }
    return sorted(
        (c for c in found if not inspect.isabstract(c) and c not in (Stack, Flow)),
        key=lambda c: c.__name__,
    )


PROCESSORS = pytest.mark.parametrize("cls", all_processors(), ids=lambda c: c.__name__)


def tokens(batch: int = 3, n: int = 12, dtype=torch.float64, seed: int = 0) -> Latent:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, n, DIM, generator=g, dtype=torch.float64).to(dtype)
    pos = torch.rand(1, n, 2, generator=g, dtype=torch.float64).to(dtype) - 0.5
    return Latent(z, pos, torch.tensor([True, False]))


def build(cls, dtype=torch.float64, shake: float = 0.3, **options) -> Processor:
    """The processor with all parameters moved, so that layers which start at zero take part."""
    torch.manual_seed(0)
    processor = cls(DIM, **options).to(dtype)
    with torch.no_grad():
        for p in processor.parameters():
            p += shake * torch.randn_like(p) * (p.std() if p.numel() > 1 and p.std() > 0 else 0.3)
    return processor


@PROCESSORS
def test_permuting_tokens_permutes_the_answer(cls):
    processor, latent = build(cls), tokens()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    a = processor(latent).z[:, order]
    b = processor(latent._replace(z=latent.z[:, order], pos=latent.pos[:, order])).z
    torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11)
    assert (a - latent.z[:, order]).norm() > 0.01 * latent.z.norm()


@PROCESSORS
def test_samples_do_not_see_each_other_and_one_token_is_enough(cls):
    processor, latent = build(cls), tokens()
    alone = processor(latent._replace(z=latent.z[1:2])).z
    torch.testing.assert_close(processor(latent).z[1:2], alone, atol=1e-12, rtol=1e-12)
    single = tokens(n=1)
    assert processor(single).z.isfinite().all()


@PROCESSORS
def test_positions_and_conditioning_matter(cls):
    processor, latent = build(cls), tokens()
    moved = latent._replace(pos=latent.pos.flip(1))
    assert (processor(moved).z - processor(latent).z).abs().max() > 1e-6
    cond = torch.randn(3, DIM, dtype=torch.float64)
    assert (processor(latent, cond).z - processor(latent).z).abs().max() > 1e-6


@PROCESSORS
def test_gradients_reach_every_parameter_after_two_updates(cls):
    torch.manual_seed(0)
    processor, latent = cls(DIM), tokens(dtype=torch.float32)
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
    processor, latent = build(cls, dtype), tokens(dtype=dtype)
    expected = processor(latent).z
    assert expected.dtype == dtype
    with torch.inference_mode():
        torch.testing.assert_close(processor(latent).z, expected)
    assert processor(latent).pos is latent.pos


@pytest.mark.parametrize(
    "cls", [c for c in all_processors() if issubclass(c, Stack)], ids=lambda c: c.__name__
)
def test_recomputing_instead_of_saving_gives_the_same_gradients(cls):
    latent, grads = tokens(), []
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
    processor, latent = build(cls), tokens(batch=1, n=5)
    assert torch.autograd.gradcheck(
        lambda z: processor(latent._replace(z=z)).z, latent.z.requires_grad_(), fast_mode=True
    )


@PROCESSORS
def test_half_precision_training_keeps_the_state_in_single(cls):
    processor, latent = build(cls, torch.float32), tokens(dtype=torch.float32)
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


@pytest.mark.parametrize(
    "cls", [c for c in all_processors() if issubclass(c, Stack)], ids=lambda c: c.__name__
)
def test_answers_at_several_times_are_stacked(cls):
    processor, latent = build(cls), tokens()
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
    processor, latent = build(cls, torch.float32, **shallow), tokens(dtype=torch.float32)

    def run(forward):
        z, cond = latent.z.clone().requires_grad_(), torch.ones(3, DIM)
        out = forward(latent._replace(z=z), cond).z
        return out.detach(), *torch.autograd.grad(out.square().mean(), [z, *processor.parameters()])

    compiled = torch.compile(
        processor, fullgraph=True, backend="aot_eager"
    )  # traces the backward pass too
    torch.testing.assert_close(run(compiled), run(processor), atol=1e-6, rtol=1e-5)
