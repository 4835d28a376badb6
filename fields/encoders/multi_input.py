"""Several input functions, each known at points of its own."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.encoders.base import Anchored
from fields.encoders.cross_attention_encoder import reader


class MultiInput(Anchored):
    r"""The anchors gather one input function after the other, each from the points where it is given.

        z ← P(a) + cond,    z ← z + Gather_g( z, {(xⱼ, u_g(xⱼ)) : u_g(xⱼ) is given} )   for every group g of variables

    A coefficient inside, a value on the boundary, a signed distance on a coarse grid: all points
    stand in one list and a variable is NaN where it is not given. A function given nowhere leaves
    the tokens as they are. Scalars are parameters of the schema (``cond``); a geometry mask or a
    signed distance is an input variable. Gather is that of `CrossAttentionEncoder`, quadrature
    weights included. The skip path of a model needs all inputs at every point: leave it away.

        encoder:
          class_path: fields.encoders.MultiInput
          init_args: {groups: [[k, sdf], [g]], tokens: [8, 8]}   # k and sdf share their points, g has its own

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        groups: variables that are given at the same points; by default every variable by itself.
        tokens: anchors per axis; by default 32, 16² or 6³.
        heads: attention heads.
        reach: Gaussian lengths of the first and last head, in anchor spacings.
    """

    def __init__(
        self,
        dim: int,
        schema: Schema,
        *,
        groups: tuple[tuple[str, ...], ...] | None = None,
        tokens: tuple[int, ...] | None = None,
        heads: int = 4,
        reach: tuple[float, float] = (0.35, 1.0),
    ):
        super().__init__(dim, schema, tokens=tokens)
        wanted = [name for name in schema.inputs if name != schema.weight]
        groups = tuple((name,) for name in wanted) if groups is None else groups
        if sorted(name for group in groups for name in group) != sorted(wanted):
            raise ValueError(
                f"`MultiInput` got groups {[list(group) for group in groups]} for the inputs {wanted}. Name each of them once."
            )
        made = [
            reader(dim, schema, group, self.tokens, heads=heads, reach=reach) for group in groups
        ]
        self.read = [read for read, _, _ in made]
        self.embed = nn.ModuleList(embed for _, embed, _ in made)
        self.gather = nn.ModuleList(block for _, _, block in made)

    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Values at any points, NaN where a variable is not given -> one token per anchor."""
        anchors = self.anchors[None].to(x.dtype)
        z = self.position(anchors).expand(u.shape[0], -1, -1)
        z = z if cond is None else z + cond[:, None]
        known = u.nan_to_num()
        for read, embed, block in zip(self.read, self.embed, self.gather, strict=True):
            given = read(u).isfinite().all(-1) & x_mask
            source = read.weighted(embed(read(known)), known)
            z = block(z, source, x_q=anchors, x_k=x, periodic=self.periodic, mask=given)
        return Latent(z, anchors, self.periodic)
