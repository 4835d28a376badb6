"""Graph attention, as the lecture starts from: to be compared, not to be used."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent
from fields.nn.geometry import embed
from fields.nn.graph.graph_attention import GraphAttention
from fields.processors.base import Processor


class GAT(Processor):
    r"""Graph attention layers on the graph of near tokens.   z ← σ(Σⱼ αᵢⱼ W zⱼ),   ``depth`` times

    No residual and no law: variance between tokens falls with depth (over-smoothing) and distant
    tokens meet through few paths (over-squashing). GRAND with a source and the Hamiltonian
    processors are the cure.

    Args:
        dim: token width h.
        depth: layers.
        heads: attention heads.
        radius: tokens closer than this many mean spacings are neighbors.

    Reference: Veličković et al., ICLR 2018.
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
        """One pass through all layers; ``t`` is layer depth here and not used."""
        tokens, axes = latent.pos.shape[-2:]
        places = embed(latent.pos, latent.periodic)
        distance2 = (places[:, :, None] - places[:, None]).square().sum(-1)
        neighbors = distance2 <= self.radius**2 * tokens ** (-2 / axes)
        z = latent.z
        for layer in self.layers:
            z = layer(z if cond is None else z + cond[:, None], neighbors)
        return latent._replace(z=z.to(latent.z.dtype))
