"""The contract of every decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from fields.core.component import Component
from fields.core.sample import Latent, Schema


class Decoder(Component, ABC):
    r"""Evaluates the field that tokens describe, at any points.

        {(zᵢ, aᵢ)}, y ↦ f(y)

    Constructor: ``(dim, schema, *, skip_features=0, ...)`` with the token width h and the names and
    geometry of the problem. Every further argument is keyword-only and has a default; it is a
    number, a string, a tuple of these, or a component, so that a checkpoint can describe it.
    ``skip_features`` is the number of features of the skip path per input channel (see
    :class:`~fields.nn.skip.SkipMoments`), 0 without one. If it is positive, ``forward`` receives
    them and the field depends on them.

    What the conformance tests check for every decoder in ``fields.decoders``:

    - The field has shape (b m o) and the type of the tokens. Gradients reach every parameter.
    - Queries are independent of each other: decoding all points at once equals decoding them in
      parts. Samples do not influence each other either.
    - The order of the tokens does not matter, but their positions do: the same tokens at other
      positions are another field.
    - The field is continuous in y. Periodic axes are closed: f(y) = f(y + 1) in unit coordinates,
      without a jump where the axis closes. Other axes are not made periodic.
    - Under bfloat16 autocast the field changes by less than 10 %.
    - ``describe``, ``build`` and ``state_dict`` reproduce the decoder.

    ``cond`` is the embedding of the constants of the PDE. A decoder may ignore it: the tokens
    depend on it too.

    Example:
        >>> import torch
        >>> from fields.decoders.cross_attention import CrossAttention
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> decoder: Decoder = CrossAttention(16, schema)
        >>> latent = Latent(torch.randn(2, 8, 16), torch.rand(1, 8, 1), torch.tensor([False]))
        >>> decoder(latent, torch.rand(1, 5, 1)).shape
        torch.Size([2, 5, 1])
    """

    @abstractmethod
    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """Evaluates the field at points y.

        Args:
            latent: tokens and their positions.
            y: points in unit coordinates; b = 1 if all samples share them.
            cond: embedding of the constants of the PDE, if there are any.
            skip_features: features of the input function around each query, c = input channels ·
                ``skip_features`` of the constructor.

        Returns:
            Normalized values of the outputs.
        """


class FittedDecoder(Decoder, ABC):
    """A decoder that computes a part of itself from the training outputs before the training.

    Example:
        >>> import torch
        >>> from fields.decoders.pca import PCA
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),), grid=(8,))
        >>> decoder: FittedDecoder = PCA(16, schema)
        >>> decoder.fit(torch.linspace(-0.5, 0.5, 8).reshape(1, 8, 1), torch.randn(20, 8, 1))
    """

    @abstractmethod
    def fit(self, y: Float[Tensor, "#b n d"], v: Float[Tensor, "b n o"]) -> None:
        """Computes that part. The trainer calls it once, with all training samples.

        Args:
            y: points in unit coordinates; b = 1 if all samples share them.
            v: normalized outputs there.

        Raises:
            ValueError: these points do not suit the decoder.
        """


def skip_projection(
    skip_features: int, schema: Schema, out: int, *, bias: bool = False
) -> nn.Linear | None:
    """The linear map that a decoder applies to the features of the skip path; None without one.

    Args:
        skip_features: features per input channel.
        schema: gives the number of input channels.
        out: width of the result.
        bias: whether the map has one.

    Example:
        >>> schema = Schema(("x",), inputs=("a", "b"), outputs=("u",), bounds=((0.0, 1.0),))
        >>> skip_projection(3, schema, 16)
        Linear(in_features=6, out_features=16, bias=False)
    """
    return nn.Linear(skip_features * schema.in_channels, out, bias=bias) if skip_features else None
