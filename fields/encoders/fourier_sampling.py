"""Tokens that are samples of the input function itself."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.sample import Latent, Schema
from fields.encoders.base import Encoder
from fields.nn.embeddings import grid_points, token_counts
from fields.nn.interpolation.fourier import columns, fit_to_points


class FourierSampling(Encoder):
    r"""The tokens are the input function: samples, at anchors, of its trigonometric polynomial. Nothing is learned.

        z(a) = Σⱼ P(a, xⱼ) u(xⱼ),    P the smoothing fit of `fields.nn.interpolation.fourier`

    One linear map for every variable, orthogonal on the polynomials. So two conjugate fields,
    displacement and velocity, become conjugate coordinates (the cotangent lift): what is
    Hamiltonian for the fields is Hamiltonian for the code, in canonical form, and codes move as the
    codes of the moving field do. A learned encoder promises neither.

    Args:
        dim: token width h, the number of channels.
        schema: names and geometry of the problem; one frame of history.
        tokens: anchors per axis, which is how many waves a code holds.
        channels: variable in each channel, "" for zeros; by default the inputs in order, then
            zeros. For a Hamiltonian flow positions (and what is given and stays) come first, then
            their momenta.
        aligned: along periodic axes the first token lies on the lower bound, like the first point
            of a grid, and not half a cell inside. As many tokens as points are then the values
            themselves, the highest cosine included, which centers miss.

    Raises:
        ValueError: a history, or channels that are not ``dim`` names of variables.

    Reference: Peng & Mohseni, SIAM J. Sci. Comput. 38, A1 (2016), cotangent lift.
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
                f"`FourierSampling` tokens hold one frame, and {schema.history} are given. Set `data.history: 1`."
            )
        self.tokens, self.closed = token_counts(tokens, schema), schema.periodic
        self.columns = columns(
            dim, schema.inputs if channels is None else channels, schema.inputs, schema
        )
        lead = [
            0.5 / count if aligned and closed else 0.0
            for count, closed in zip(self.tokens, self.closed, strict=True)
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
        """Values at any points -> one token per anchor."""
        fit = fit_to_points(x + self.lead, x_mask, self.tokens, self.closed).to(u.dtype)
        with torch.autocast(u.device.type, enabled=False):
            samples = torch.nn.functional.pad(fit @ u, (0, 1))  # the last column is zero
        return Latent(samples[..., self.columns], self.anchors[None].to(u.dtype), self.periodic)

    def num_tokens(self, points: int) -> int:
        """One per anchor."""
        return len(self.anchors)
