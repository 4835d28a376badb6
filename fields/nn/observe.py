"""Looking into a trained model without changing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

from torch import nn

from fields.nn.attention import Attention
from fields.nn.gibbs import Gibbs

T = TypeVar("T")


@contextmanager
def observe(
    model: nn.Module, look: Callable[..., T] | Callable[..., Gibbs] = Attention.stats
) -> Iterator[dict[str, list[T]]]:
    """Within this context each call of each `Attention` in ``model`` leaves a look, under the layer's name.

    The model computes what it always does; outside the context it costs nothing. ``look`` gets the layer and the arguments
    of its call: `Attention.stats`, `Attention.weights`, or your own function.

    Example:
        >>> layer = Attention(8, heads=2)
        >>> with observe(layer) as seen:
        ...     _ = layer(torch.randn(1, 3, 8), torch.randn(1, 5, 8))
        >>> seen[""][0].entropy.shape
        torch.Size([1, 2, 3])
    """
    seen: dict[str, list[T]] = {}
    hooks = []
    for name, layer in model.named_modules():
        if isinstance(layer, Attention):

            def note(layer: nn.Module, args: tuple, kwargs: dict, output: object, name: str = name) -> None:
                seen.setdefault(name, []).append(cast(T, look(layer, *args, **kwargs)))

            hooks.append(layer.register_forward_hook(note, with_kwargs=True))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
