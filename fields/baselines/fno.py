"""The Fourier neural operator of the neuraloperator library, behind our interface."""

from __future__ import annotations

from typing import Any

from torch import nn

from fields.baselines.grid import NeuralopModel, positional_embedding
from fields.core.sample import Schema
from fields.data.normalizer import Normalizer


class FNO(NeuralopModel):
    r"""v = Q( (σ(W + K))^L ( P(u, x) ) ),   K a convolution with learned Fourier coefficients of the lowest modes.

    Reference: Li et al., ICLR 2021; implementation: neuraloperator 2.0.

    Args:
        schema, normalizer: the problem.
        modes: Fourier modes kept per axis.
        width: channels.
        layers: Fourier layers L.
    """

    def __init__(
        self,
        *,
        schema: Schema,
        normalizer: Normalizer,
        modes: int = 16,
        width: int = 64,
        layers: int = 4,
    ):
        super().__init__(schema=schema, normalizer=normalizer, divisor=2)
        self.set_network(
            fourier_layers(schema, self.channels, modes=modes, width=width, layers=layers)
        )


def fourier_layers(
    schema: Schema, channels: int, *, modes: int, width: int, layers: int, **tensor: Any
) -> nn.Module:
    """neuraloperator's FNO; ``tensor`` says how its coefficients are factorized, which they are not unless it does."""
    from neuralop.models import FNO as NeuralopFNO  # noqa: N811  imports wandb and takes seconds

    return NeuralopFNO(
        n_modes=(modes,) * schema.dim,
        hidden_channels=width,
        n_layers=layers,
        in_channels=channels,
        out_channels=schema.out_channels,
        positional_embedding=positional_embedding(schema),
        **tensor,
    )
