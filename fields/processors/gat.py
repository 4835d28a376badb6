"""Graph attention network: a baseline for the graph flows."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent
from fields.nn.geometry import periodic_coordinates
from fields.nn.graph.graph_attention import GraphAttention
from fields.processors.base import Processor


class GAT(Processor):
    r"""Graph attention layers on the graph of nearby tokens.   z ← σ(Σⱼ αᵢⱼ W zⱼ),  ``depth`` times

    A baseline without residual connections and without a law: the variance between tokens falls
    with depth (over-smoothing), and distant tokens interact through few paths (over-squashing).
    ``Grand`` with its source and the Hamiltonian processors avoid the first.

    Args:
        dim: token width h.
        depth: layers.
        heads: attention heads.
        radius: tokens closer than this many mean spacings are neighbors.

    Reference: Veličković et al., ICLR 2018.

    Example:
        >>> import torch
        >>> latent = Latent(torch.randn(2, 5, 8), torch.rand(1, 5, 2), torch.tensor([True, False]))
        >>> GAT(8)(latent).z.shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int, *, depth: int = 4, heads: int = 4, radius: float = 2.5):
        super().__init__()
        self.layers = nn.ModuleList(GraphAttention(dim, heads=heads) for _ in range(depth))
        self.radius = radius

    def forward(
        self,
        latent: Latent,
        cond: Float[Tensor, "b h"] | None = None,
        t: Float[Tensor, "s"] | None = None,
    ) -> Latent:
        """The tokens after all layers; ``t`` is not used.   Shape: z (b k h) -> (b k h)."""
        tokens, axes = latent.pos.shape[-2:]
        places = periodic_coordinates(latent.pos, latent.periodic)
        distance2 = (places[:, :, None] - places[:, None]).square().sum(-1)
        neighbors = distance2 <= self.radius**2 * tokens ** (-2 / axes)
        z = latent.z
        for layer in self.layers:
            z = layer(z if cond is None else z + cond[:, None], neighbors)
        return latent._replace(z=z.to(latent.z.dtype))
