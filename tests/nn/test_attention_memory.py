"""Memory grows with the number of queries and of keys, not with their product."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fields.nn.attention.kernels import attention_kernel
from fields.nn.geometry import DistanceScore

HEADS = 2
WIDTH = 16


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes, kernels of the backward pass included."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            self.numel = max(self.numel, x.numel() if isinstance(x, torch.Tensor) else 0)
        return out


def inputs(m, k, kind):
    q, keys, v = (torch.randn(1, HEADS, n, WIDTH, requires_grad=True) for n in (m, k, k))
    if kind == "geometric":
        places = (torch.rand(1, n, 2) - 0.5 for n in (m, k))
        return (q, keys, v), {
            "columns": DistanceScore(heads=HEADS, lengths=(0.1, 0.5))(
                *places, torch.tensor([True, False])
            )
        }
    mask = (
        {"mask": (torch.arange(k) < k - 3)[None, None, None]}
        if kind == "padded"
        else {"causal": kind == "causal"}
    )
    return (q, keys, v), mask


def kept(m, k, kind):
    """Bytes that wait for the backward pass; what many operations share counts once."""
    storages = {}

    def note(x):
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    args, kwargs = inputs(m, k, kind)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        attention_kernel(*args, **kwargs)
    return sum(storages.values())


@pytest.mark.parametrize("kind", ["plain", "geometric", "padded", "causal"])
def test_nothing_of_the_size_of_queries_times_keys_is_made(kind):
    m = k = 768 if kind != "geometric" else 1024
    args, kwargs = inputs(m, k, kind)
    with Largest() as largest:
        attention_kernel(*args, **kwargs).sum().backward()
    assert m * HEADS * WIDTH <= largest.numel < m * k


@pytest.mark.parametrize("kind", ["plain", "geometric", "padded"])
def test_what_training_keeps_is_linear_in_queries_and_in_keys(kind):
    each = [kept(m, 512, kind) for m in (512, 1024, 2048)]
    assert abs((each[2] - each[1]) / (each[1] - each[0]) - 2) < 0.01
    assert (
        each[1] - each[0]
    ) / 512 < 4 * HEADS * 100  # per query: some vectors of the width, no row of 512 weights
    doubled = kept(1024, 1024, kind)
    assert doubled < 2.01 * kept(512, 512, kind)


def test_the_measure_sees_a_matrix_of_weights():
    (q, k, v), _ = inputs(768, 768, "plain")
    with Largest() as largest:
        ((q @ k.mT).softmax(-1) @ v).sum().backward()
    assert largest.numel == HEADS * 768 * 768
