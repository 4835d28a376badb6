"""Records of attention weights in a trained model, without changes to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

from torch import nn

from fields.nn.attention.statistics import AttentionStatistics
from fields.nn.attention.weights import AttentionLayer

T = TypeVar("T")


def _stats(layer: AttentionLayer, *args: object, **kwargs: object) -> AttentionStatistics:
    return layer.stats(*args, **kwargs)


@contextmanager
def capture_attention(
    model: nn.Module, look: Callable[..., T] | Callable[..., AttentionStatistics] = _stats
) -> Iterator[dict[str, list[T]]]:
    """Record every call of every attention layer in ``model`` while the context is open.

    Attention layers are all `AttentionLayer` modules: `Attention`, and the weights inside graph
    attention, coboundaries, diffusions and energies. The model computes the same result as
    without the context. Yields a dictionary from the name of a layer to one record per call.

    Args:
        model: the model to observe.
        look: makes a record from the layer and the arguments of its call; by default
            `AttentionLayer.stats`.

    Example:
        >>> import torch
        >>> from fields.nn.attention.multihead import Attention
        >>> layer = Attention(8, heads=2)
        >>> with capture_attention(layer) as seen:
        ...     _ = layer(torch.randn(1, 3, 8), torch.randn(1, 5, 8))
        >>> seen[""][0].entropy.shape
        torch.Size([1, 2, 3])
    """
    seen: dict[str, list[T]] = {}
    hooks = []
    for name, layer in model.named_modules():
        if isinstance(layer, AttentionLayer):

            def note(
                layer: nn.Module, args: tuple, kwargs: dict, output: object, name: str = name
            ) -> None:
                kwargs.pop("return_stats", None)  # not an argument of the weights
                seen.setdefault(name, []).append(cast(T, look(layer, *args, **kwargs)))

            hooks.append(layer.register_forward_hook(note, with_kwargs=True))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
