"""Tokens that are samples of the input function itself."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.sample import Latent, Schema
from fields.encoders.base import Encoder
from fields.nn.embeddings import grid_points, token_counts
from fields.nn.interpolation.fourier import channel_columns, smoothing_fit_matrix


class FourierSampling(Encoder):
    r"""Samples of the input function's trigonometric polynomial at anchors; nothing is learned.

        z(a) = Σⱼ P(a, xⱼ) u(xⱼ),    P the smoothing fit of `fields.nn.interpolation.fourier`

    The same linear map is applied to every variable, and it is orthogonal on the polynomials. So
    two conjugate fields, such as displacement and velocity, become conjugate coordinates (the
    cotangent lift): a system that is Hamiltonian for the fields is Hamiltonian for the code in
    canonical form. A learned encoder does not guarantee this. Any number of points is read, and
    samples may be padded; ``cond`` is ignored.

    Reference: Peng & Mohseni, SIAM J. Sci. Comput. 38, A1 (2016), cotangent lift.

    Args:
        dim: token width h, the number of channels.
        schema: names and geometry of the problem, with one frame of history.
        tokens: anchors per axis, which limits the number of waves in a code; by default 32, 16² or
            6³.
        channels: variable in each channel, "" for zeros; by default the inputs in order, then
            zeros. For a Hamiltonian flow positions (and inputs that do not evolve) come first, then
            their momenta.
        aligned: along periodic axes, place the first token on the lower bound, like the first point
            of a grid, and not half a cell inside. With as many tokens as points, tokens are then
            the values themselves, including the highest cosine, which cell centers do not resolve.

    Raises:
        ValueError: the schema has more than one frame of history, or the channels are not at most
            ``dim`` names of variables.

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), periodic=(True,), bounds=((0.0, 1.0),))
        >>> encoder = FourierSampling(1, schema, tokens=(8,), aligned=True)
        >>> x = grid_points((8,))[None] - 0.5 / 8
        >>> u = torch.cos(2 * torch.pi * x)
        >>> torch.allclose(encoder(x, u, torch.ones(1, 8) > 0).z, u, atol=1e-4)
        True
    """

    anchors: Tensor
    periodic: Tensor
    lead: Tensor

    def __init__(
        self,
        dim: int,
        schema: Schema,
        *,
        tokens: tuple[int, ...] | None = None,
        channels: tuple[str, ...] | None = None,
        aligned: bool = False,
    ):
        super().__init__()
        if schema.history > 1:
            raise ValueError(
                f"`FourierSampling` tokens hold one frame, and {schema.history} are given. "
                "Set `data.history: 1`."
            )
        self.tokens = token_counts(tokens, schema)
        self.closed = schema.periodic
        names = schema.inputs if channels is None else channels
        self.columns = channel_columns(dim, names, schema.inputs, schema)
        # Per axis, how far the anchors lie below the centers of the cells.
        lead = [
            0.5 / count if aligned and periodic else 0.0
            for count, periodic in zip(self.tokens, self.closed, strict=True)
        ]
        self.register_buffer("lead", torch.tensor(lead), persistent=False)
        self.register_buffer("anchors", grid_points(self.tokens) - self.lead, persistent=False)
        self.register_buffer("periodic", torch.tensor(schema.periodic), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Values at any points to one token per anchor (see `Encoder`)."""
        fit = smoothing_fit_matrix(x + self.lead, x_mask, self.tokens, self.closed).to(u.dtype)
        with torch.autocast(u.device.type, enabled=False):
            samples = torch.nn.functional.pad(fit @ u, (0, 1))  # column −1 is zero
        return Latent(samples[..., self.columns], self.anchors[None].to(u.dtype), self.periodic)

    def num_tokens(self, points: int) -> int:
        """The number of anchors."""
        return len(self.anchors)
