"""The free processor: every token attends to every token."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent
from fields.nn.attention.multihead import Attention
from fields.nn.blocks import TransformerBlock
from fields.processors.base import Processor


class Transformer(Processor):
    r"""Pre-norm transformer.   z ← z + Attn(LN z);   z ← z + MLP(LN z),   ``depth`` times

    Attention has the geometric term and rotations by position, hence depends on relative positions
    only. No law is kept.

    Reference: Vaswani et al. 2017; Xiong et al. 2020 for the place of the norms.

    Args:
        dim: token width h.
        depth: number of blocks.
        heads: attention heads.
        ratio: inner width of the MLP over h.
        lengths: Gaussian lengths of the first and last head, in unit coordinates.
        max_frequency: largest rotation frequency, in turns per domain.
        dropout: share of the MLPs' inner neurons that fall silent in training; what
            `predict(samples=…)` draws from.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int = 4,
        heads: int = 4,
        ratio: float = 2.0,
        lengths: tuple[float, float] = (0.1, 1.0),
        max_frequency: float = 8.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim,
                Attention(
                    dim,
                    heads=heads,
                    lengths=lengths,
                    max_frequency=max_frequency,
                    rotate_values=True,
                ),
                ratio=ratio,
                dropout=dropout,
            )
            for _ in range(depth)
        )

    def forward(
        self,
        latent: Latent,
        cond: Float[Tensor, "b h"] | None = None,
        t: Float[Tensor, "s"] | None = None,
    ) -> Latent:
        """One pass through all blocks; ``t`` is layer depth here and not used."""
        z = latent.z
        for block in self.blocks:
            z = block(
                z if cond is None else z + cond[:, None], x_q=latent.pos, periodic=latent.periodic
            )
        return latent._replace(z=z)
