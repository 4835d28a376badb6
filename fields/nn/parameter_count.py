"""Equal parameters for unequal models."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def num_parameters(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def width_for(
    factory: Callable[[int], nn.Module], budget: int, *, multiple: int = 16, largest: int = 4096
) -> int:
    """The width, a multiple of ``multiple``, whose module comes closest to ``budget`` parameters.

    Args:
        factory: width -> module; a processor's class, or a whole model around it.
        budget: parameters wanted.
        multiple: heads (and half-channels) must divide the width.
        largest: give up beyond this width.

    Example:
        >>> from fields.flows import Hamiltonian
        >>> width_for(Hamiltonian, 250_000)
        96
    """
    width, count = 0, 0
    while count < budget:
        previous, before = width, count
        width += multiple
        if width > largest:
            raise ValueError(
                f"{budget} parameters need a width above {largest}. Ask for fewer, or more depth."
            )
        count = num_parameters(factory(width))
    if previous == 0 and count > 2 * budget:
        raise ValueError(
            f"The narrowest module, width {width}, already has {count} parameters, not {budget}. Ask for less depth."
        )
    return previous if previous and budget - before < count - budget else width
