"""The Fourier neural operator of the neuraloperator library."""

from __future__ import annotations

from typing import Any

from torch import nn

from fields.baselines.grid import NeuralopModel, positional_embedding
from fields.core.sample import Schema
from fields.data.normalizer import Normalizer


class FNO(NeuralopModel):
    r"""v = Q( z_L ),   z_{l+1} = σ( W_l z_l + F⁻¹(R_l · F z_l) ),   z_0 = P(u, x)

    R_l are learned coefficients of the lowest Fourier modes; P and Q act at each point.

    Reference: Li et al., ICLR 2021, equations 2 and 4; implementation: neuraloperator 2.0.

    Args:
        schema, normalizer: the problem.
        modes: number of Fourier modes per axis.
        width: number of channels of z.
        layers: number of Fourier layers L.

    Example:
        >>> import torch
        >>> from fields import Sample, Schema
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),), grid=(16,))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> model = FNO(schema=schema, normalizer=normalizer, modes=4, width=8)
        >>> x, mask = torch.linspace(0, 1, 16)[None, :, None], torch.ones(1, 16) > 0
        >>> batch = Sample(x, torch.rand(2, 16, 1), mask, x, torch.zeros(2, 1, 16, 1), mask,
        ...                torch.zeros(2, 1), torch.zeros(2, 0))
        >>> model(batch).shape
        torch.Size([2, 1, 16, 1])
    """

    def __init__(
        self,
        *,
        schema: Schema,
        normalizer: Normalizer,
        modes: int = 16,
        width: int = 64,
        layers: int = 4,
    ) -> None:
        super().__init__(schema=schema, normalizer=normalizer, divisor=2)
        self.set_network(
            neuralop_fno(schema, self.channels, modes=modes, width=width, layers=layers)
        )


def neuralop_fno(
    schema: Schema, channels: int, *, modes: int, width: int, layers: int, **tensor: Any
) -> nn.Module:
    """The FNO of neuraloperator.

    Args:
        schema: the problem.
        channels: number of inputs, constants of the PDE included.
        modes, width, layers: see `FNO`.
        tensor: how the Fourier coefficients are factorized; by default they are not.
    """
    # Imported here since it imports wandb, which takes seconds.
    from neuralop.models import FNO as NeuralopFNO  # noqa: N811

    return NeuralopFNO(
        n_modes=(modes,) * schema.dim,
        hidden_channels=width,
        n_layers=layers,
        in_channels=channels,
        out_channels=schema.out_channels,
        positional_embedding=positional_embedding(schema),
        **tensor,
    )
