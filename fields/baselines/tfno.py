"""The tensorized Fourier neural operator of the neuraloperator library."""

from __future__ import annotations

from fields.baselines.fno import neuralop_fno
from fields.baselines.grid import NeuralopModel
from fields.core.sample import Schema
from fields.data.normalizer import Normalizer


class TFNO(NeuralopModel):
    r"""An FNO with R_l = G_l ×₁ U_l¹ ×₂ U_l² …, a core tensor times one matrix per axis (Tucker).

    Reference: Kossaifi et al., TMLR 2024; implementation: neuraloperator 2.0.

    Args:
        schema, normalizer: the problem.
        modes: number of Fourier modes per axis.
        width: number of channels.
        layers: number of Fourier layers.
        rank: number of parameters of R_l, as a share of those of a full tensor.

    Example:
        >>> from fields import Schema
        >>> from fields.baselines.fno import FNO
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),), grid=(16,))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> problem = {"schema": schema, "normalizer": normalizer}
        >>> count = lambda model: sum(p.numel() for p in model.parameters())
        >>> count(TFNO(**problem)) < 0.5 * count(FNO(**problem))
        True
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
    ) -> None:
        super().__init__(schema=schema, normalizer=normalizer, divisor=2)
        size = {"modes": modes, "width": width, "layers": layers}
        self.set_network(
            neuralop_fno(schema, self.channels, **size, factorization="Tucker", rank=rank)
        )
