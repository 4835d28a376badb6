"""The transformer: a processor without a law."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent
from fields.nn.attention.multihead import Attention
from fields.nn.blocks import TransformerBlock
from fields.processors.base import Processor


class Transformer(Processor):
    r"""Pre-norm transformer.   z ← z + Attn(LN z);   z ← z + MLP(LN z),   ``depth`` times

    Attention has a geometric term and rotations by position, hence depends on relative positions
    only. Preserves no invariant.

    Args:
        dim: token width h.
        depth: number of blocks.
        heads: attention heads.
        ratio: inner width of the MLP over h.
        lengths: Gaussian lengths of the first and last head, in unit coordinates.
        max_frequency: largest rotation frequency, in turns per domain.
        dropout: fraction of the MLPs' inner units that are dropped in training; the samples of
            ``predict(samples=…)`` are drawn with it.

    Reference: Vaswani et al., NeurIPS 2017; Xiong et al., ICML 2020 for the position of the norms.

    Example:
        >>> import torch
        >>> latent = Latent(torch.randn(2, 5, 8), torch.rand(1, 5, 2), torch.tensor([True, False]))
        >>> Transformer(8, depth=2)(latent).z.shape
        torch.Size([2, 5, 8])
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
        """The tokens after all blocks; ``t`` is not used.   Shape: z (b k h) -> (b k h)."""
        z = latent.z
        for block in self.blocks:
            z = block(
                z if cond is None else z + cond[:, None], x_q=latent.pos, periodic=latent.periodic
            )
        return latent._replace(z=z)
