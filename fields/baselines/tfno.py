"""The tensorised Fourier neural operator of the neuraloperator library, behind our interface."""

from __future__ import annotations

from fields.baselines.fno import fourier_layers
from fields.baselines.grid import NeuralopModel
from fields.core.sample import Schema
from fields.data.normalizer import Normalizer


class TFNO(NeuralopModel):
    r"""An FNO whose Fourier coefficients are Tucker tensors: a core times one matrix per axis, in a share ``rank`` of the numbers.

    Reference: Kossaifi et al., TMLR 2024; implementation: neuraloperator 2.0.

    Args:
        schema, normalizer: the problem.
        modes: Fourier modes kept per axis.
        width: channels.
        layers: Fourier layers.
        rank: share of the parameters of a full tensor.
    """

    def __init__(
        self,
        *,
        schema: Schema,
        normalizer: Normalizer,
        modes: int = 16,
        width: int = 64,
        layers: int = 4,
        rank: float = 0.1,
    ):
        super().__init__(schema=schema, normalizer=normalizer, divisor=2)
        tensor = {"factorization": "Tucker", "rank": rank}
        self.set_network(
            fourier_layers(schema, self.channels, modes=modes, width=width, layers=layers, **tensor)
        )
