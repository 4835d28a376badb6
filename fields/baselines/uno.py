"""The U-shaped neural operator of the neuraloperator library, behind our interface."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

from fields.baselines.grid import NeuralopModel, positional_embedding
from fields.core.sample import Schema
from fields.data.normalizer import Normalizer


class UNO(NeuralopModel):
    r"""Fourier layers that halve the grid, one in the middle, and layers that double it again, with skips between equals.

    The middle grid must be even too, so sizes are multiples of 4 on all axes but the last.

    Reference: Rahman, Ross & Azizzadenesheli, TMLR 2023; implementation: neuraloperator 2.0.

    Args:
        schema, normalizer: the problem.
        modes: Fourier modes kept per axis on the full grid; half of them on the middle grid.
        width: channels.
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer, modes: int = 16, width: int = 64):
        super().__init__(schema=schema, normalizer=normalizer, divisor=4)
        from neuralop.models import UNO as NeuralopUNO  # noqa: N811  imports wandb and takes seconds

        scalings, shares = (1.0, 0.5, 1.0, 2.0, 1.0), (1, 2, 2, 2, 1)
        with redirect_stdout(StringIO()):  # it prints its settings while it is built
            net = NeuralopUNO(
                in_channels=self.channels,
                out_channels=schema.out_channels,
                hidden_channels=width,
                lifting_channels=2 * width,
                projection_channels=2 * width,
                positional_embedding=positional_embedding(schema),
                n_layers=len(scalings),
                uno_out_channels=[width] * len(scalings),
                uno_n_modes=[[max(modes // share, 1)] * schema.dim for share in shares],
                uno_scalings=[[scaling] * schema.dim for scaling in scalings],
                channel_mlp_skip="linear",  # its default cannot change the number of channels
            )
        self.set_network(net)
