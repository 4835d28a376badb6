"""Several input functions, each given at points of its own."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.encoders.base import Anchored
from fields.encoders.cross_attention_encoder import gather_block


class MultiInput(Anchored):
    r"""The anchors gather one input function after the other, each from its own points.

        z ← P(a) + cond
        z ← z + Gather_g( z, {(xⱼ, u_g(xⱼ)) : u_g(xⱼ) is given} )    for every group g of variables

    Examples are a coefficient inside the domain, a value on the boundary, a signed distance on a
    coarse grid. All points are in one list, and a variable is NaN where it is not given. A function
    that is given nowhere leaves the tokens as they are. Scalars are parameters of the schema
    (``cond``); a geometry mask or a signed distance is an input variable. Gather is that of
    `CrossAttentionEncoder`, quadrature weights included. The skip path of a model needs all inputs
    at every point, so it must be switched off (``skip: null``).

        encoder:
          class_path: fields.encoders.MultiInput
          init_args:
            groups: [[k, sdf], [g]]   # k and sdf share their points, g has its own
            tokens: [8, 8]

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        groups: variables that are given at the same points; by default every variable by itself.
        tokens: anchors per axis; by default 32, 16² or 6³.
        heads: attention heads.
        reach: Gaussian lengths of the first and last head, in anchor spacings.

    Raises:
        ValueError: the groups do not name every input variable exactly once.

    Example:
        >>> import torch
        >>> schema = Schema(("x",), inputs=("a", "g"), outputs=("u",), bounds=((0.0, 1.0),))
        >>> x, u = torch.rand(1, 50, 1) - 0.5, torch.randn(3, 50, 2)
        >>> u[:, 30:, 0], u[:, :30, 1] = torch.nan, torch.nan  # a at 30 points, g at 20 others
        >>> MultiInput(16, schema, tokens=(8,))(x, u, torch.ones(1, 50) > 0).z.isfinite().all()
        tensor(True)
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
                f"`MultiInput` got groups {[list(group) for group in groups]} for the inputs "
                f"{wanted}. Name each of them once."
            )
        blocks = [
            gather_block(dim, schema, group, self.tokens, heads=heads, reach=reach)
            for group in groups
        ]
        self.read = [channels for channels, _, _ in blocks]
        self.embed = nn.ModuleList(embed for _, embed, _ in blocks)
        self.gather = nn.ModuleList(block for _, _, block in blocks)

    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Values at any points, NaN where not given, to one token per anchor (see `Encoder`)."""
        anchors = self.anchors[None].to(x.dtype)
        z = self.position(anchors).expand(u.shape[0], -1, -1)
        z = z if cond is None else z + cond[:, None]
        known = u.nan_to_num()
        for read, embed, block in zip(self.read, self.embed, self.gather, strict=True):
            given = read(u).isfinite().all(-1) & x_mask
            source = read.append_log_weight(embed(read(known)), known)
            z = block(z, source, x_q=anchors, x_k=x, periodic=self.periodic, mask=given)
        return Latent(z, anchors, self.periodic)
