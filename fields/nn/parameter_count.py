"""Numbers of parameters, and widths that make them equal for different models."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def num_parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def width_for(
    factory: Callable[[int], nn.Module], budget: int, *, multiple: int = 16, largest: int = 4096
) -> int:
    """The width, a multiple of ``multiple``, whose module comes closest to ``budget`` parameters.

    Args:
        factory: width -> module, such as the class of a processor or a function that makes a model.
        budget: number of parameters.
        multiple: the width is a multiple of this number, as heads and half-channels require.
        largest: largest width to try.

    Raises:
        ValueError: the budget is too large for ``largest``, or too small for the narrowest module.

    Example:
        >>> from fields.flows import Hamiltonian
        >>> width_for(Hamiltonian, 250_000)
        96
    """
    width = 0
    count = 0
    while count < budget:
        previous = width
        before = count
        width += multiple
        if width > largest:
            raise ValueError(
                f"{budget} parameters need a width above {largest}. "
                "Reduce the number of parameters, or increase the depth."
            )
        count = num_parameters(factory(width))
    if previous == 0 and count > 2 * budget:
        raise ValueError(
            f"The narrowest module, of width {width}, already has {count} parameters instead of "
            f"{budget}. Reduce the depth."
        )
    return previous if previous and budget - before < count - budget else width
