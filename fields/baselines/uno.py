"""The U-shaped neural operator of the neuraloperator library."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

from fields.baselines.grid import NeuralopModel, positional_embedding
from fields.core.sample import Schema
from fields.data.normalizer import Normalizer


class UNO(NeuralopModel):
    r"""Fourier layers on grids of 1, ½, 1, 2 and 1 times the size of the layer before.

    There are skip connections between layers of the same size. The coarse grid must be even too, so
    that sizes are multiples of 4 on all axes but the last.

    Reference: Rahman, Ross & Azizzadenesheli, TMLR 2023; implementation: neuraloperator 2.0.

    Args:
        schema, normalizer: the problem.
        modes: number of Fourier modes per axis on the full grid; half of them on the coarse grid.
        width: number of channels.

    Example:
        >>> import torch
        >>> from fields import Sample, Schema
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),), grid=(16,))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> model = UNO(schema=schema, normalizer=normalizer, modes=4, width=8)
        >>> x, mask = torch.linspace(0, 1, 16)[None, :, None], torch.ones(1, 16) > 0
        >>> batch = Sample(x, torch.rand(2, 16, 1), mask, x, torch.zeros(2, 1, 16, 1), mask,
        ...                torch.zeros(2, 1), torch.zeros(2, 0))
        >>> model(batch).shape
        torch.Size([2, 1, 16, 1])
    """

    def __init__(
        self, *, schema: Schema, normalizer: Normalizer, modes: int = 16, width: int = 64
    ) -> None:
        super().__init__(schema=schema, normalizer=normalizer, divisor=4)
        # Imported here since it imports wandb, which takes seconds.
        from neuralop.models import UNO as NeuralopUNO  # noqa: N811

        scalings = (1.0, 0.5, 1.0, 2.0, 1.0)
        mode_divisors = (1, 2, 2, 2, 1)
        with redirect_stdout(StringIO()):  # it prints its settings
            net = NeuralopUNO(
                in_channels=self.channels,
                out_channels=schema.out_channels,
                hidden_channels=width,
                lifting_channels=2 * width,
                projection_channels=2 * width,
                positional_embedding=positional_embedding(schema),
                n_layers=len(scalings),
                uno_out_channels=[width] * len(scalings),
                uno_n_modes=[[max(modes // d, 1)] * schema.dim for d in mode_divisors],
                uno_scalings=[[scaling] * schema.dim for scaling in scalings],
                channel_mlp_skip="linear",  # its default cannot change the number of channels
            )
        self.set_network(net)
