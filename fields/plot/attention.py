"""What a model's attention does: its basis functions, how many tokens count, the free energy of each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from fields.inference.targets import target_points
from fields.models.base import Operator
from fields.nn.attention.capture import capture_attention
from fields.nn.attention.multihead import Attention
from fields.nn.attention.statistics import AttentionStatistics
from fields.nn.attention.weights import AttentionLayer
from fields.plot.field import draw_image, draw_line
from fields.plot.style import color_bar, legend, new_figure, with_style

WIDEST = 200  # points per axis of the pictures

if TYPE_CHECKING:
    import xarray as xr


class BasisFigureData(NamedTuple):
    """One decoder layer on one sample, at the points y."""

    y: Float[np.ndarray, "m d"]  # physical coordinates
    nodes: Float[np.ndarray, "k d"]  # where the tokens are, in unit coordinates
    weights: Float[np.ndarray, "heads m k"]  # αᵢ(y), the learned basis functions
    hats: Float[
        np.ndarray, "m k"
    ]  # piecewise linear (multilinear) basis functions on the same nodes
    entropy: Float[np.ndarray, "heads m"]  # H of the weights at y
    tokens: Float[np.ndarray, "m"]  # exp(H), the effective number of tokens, mean over heads
    free_energy: dict[
        str, float
    ]  # ⟨F⟩ of every attention layer of the model, in the order of its calls


def hat_functions(
    x: Float[Tensor, "m d"], nodes: Float[Tensor, "k d"], periodic: tuple[bool, ...]
) -> Float[Tensor, "m k"]:
    """Products of hat functions on a regular grid of nodes, in unit coordinates; beyond the outermost nodes they stay 1."""
    axes = [nodes[:, a].unique() for a in range(nodes.shape[1])]
    if np.prod([len(axis) for axis in axes]) != len(nodes):
        raise ValueError(
            f"The {len(nodes)} tokens are on no grid, and hat functions need one. Take a model with grid tokens."
        )
    out = torch.ones(len(x), len(nodes), dtype=x.dtype)
    for a, axis in enumerate(axes):
        spacing = 1 / len(axis)
        place = x[:, a] if periodic[a] else x[:, a].clamp(axis[0], axis[-1])
        offset = place[:, None] - nodes[:, a]
        offset = offset - offset.round() if periodic[a] else offset
        out = out * (1 - offset.abs() / spacing).clamp_min(0)
    return out


@torch.no_grad()
def basis_data(
    model: Operator, ds: xr.Dataset, *, sample: int = 0, points: int = 64
) -> BasisFigureData:
    """The last cross-attention of the decoder, asked on a fine grid for one sample of ``ds``."""
    schema = model.schema
    points = min(points, WIDEST)
    axes = {
        name: np.linspace(low, high, points, endpoint=not closed)
        for name, (low, high), closed in zip(
            schema.coords, schema.bounds, schema.periodic, strict=True
        )
    }

    def look(
        layer: AttentionLayer, *args: Tensor, **kwargs: Tensor
    ) -> tuple[Tensor | None, AttentionStatistics, Tensor | None, Tensor | None]:
        weights = layer.weights(*args, **kwargs) if layer in decoder else None
        return weights, layer.stats(*args, **kwargs), kwargs.get("x_q"), kwargs.get("x_k")

    decoder = [m for m in model.get_submodule("decoder").modules() if isinstance(m, Attention)]
    with capture_attention(model, look) as seen:
        model.predict(ds.isel(sample=[sample]), at=axes, memory=1e12)
    names = [n for n in seen if model.get_submodule(n) in decoder]
    if not names:
        raise ValueError(
            "This model's decoder has no attention to all tokens, so no basis functions to draw. "
            "Take `decoders.CrossAttention` without `nearest`."
        )
    weights, stats, x_q, x_k = seen[names[-1]][0]
    assert (
        weights is not None and x_q is not None and x_k is not None
    )  # the layer is one of the decoder's
    return BasisFigureData(
        y=target_points(axes, schema).numpy(),
        nodes=x_k[0].numpy(),
        weights=weights[0].numpy(),
        hats=hat_functions(x_q[0], x_k[0], schema.periodic).numpy(),
        entropy=stats.entropy[0].numpy(),
        tokens=stats.entropy[0].exp().mean(0).numpy(),
        free_energy={n: float(calls[0][1].free_energy.mean()) for n, calls in seen.items()},
    )


@with_style
def attention_basis(
    model: Operator, ds: xr.Dataset, *, sample: int = 0, shown: int = 3, points: int = 64
) -> Figure:
    """The decoder's learned basis functions beside hat functions on the same nodes, where it looks at one token and where at
    many (entropy H, effective number of tokens exp H), and the free energy of every attention of
    the model.

    Args:
        model: one with a cross-attention decoder in one or two dimensions.
        ds: data the model understands; ``sample`` of it is looked at.
        shown: number of tokens whose basis function is drawn.
        points: points per axis of the picture.
    """
    basis, d = basis_data(model, ds, sample=sample, points=points), model.schema.dim
    if d > 2:
        raise ValueError(f"`attention_basis` draws one or two dimensions, this model has {d}.")
    across = np.linspace(-0.5, 0.5, shown + 2)[1:-1, None].repeat(d, axis=1)
    across[:, 1:] = np.roll(across[:, 1:], 1, axis=0)  # inside, and on no common line
    which = np.linalg.norm(across[:, None] - basis.nodes, axis=-1).argmin(1)
    return (
        _lines(basis, which, model.schema.coords)
        if d == 1
        else _images(basis, which, model.schema.coords)
    )


def _lines(basis: BasisFigureData, which: np.ndarray, coords: tuple[str, ...]) -> Figure:
    figure = new_figure(14.0, 5.2)
    (hats, first, last, mean), (entropy, count, energy, empty) = figure.subplots(2, 4)
    panels = ((hats, "hat functions", basis.hats), (first, "learned, first head", basis.weights[0]))
    panels += (
        (last, "learned, last head", basis.weights[-1]),
        (mean, "learned, mean of heads", basis.weights.mean(0)),
    )
    for axes, title, values in panels:
        for i in which:
            draw_line(axes, basis.y, values[:, i], label=f"token {i}")
        axes.set(title=title, xlabel=coords[0])
    legend(hats)
    for head, values in enumerate(basis.entropy):
        draw_line(entropy, basis.y, values, label=f"head {head}")
    entropy.set(title="entropy of the weights", xlabel=coords[0], ylim=(0, None))
    legend(entropy)
    draw_line(count, basis.y, basis.tokens)
    count.set(title="effective number of tokens", xlabel=coords[0], ylim=(0, None))
    _energies(energy, basis)
    empty.axis("off")
    return figure


def _images(basis: BasisFigureData, which: np.ndarray, coords: tuple[str, ...]) -> Figure:
    figure = new_figure(3.0 * (len(which) + 1), 8.0)
    grid = figure.subplots(3, len(which) + 1)
    panels = [
        (grid[row, column], f"{title}, token {i}", values[:, i])
        for row, (title, values) in enumerate(
            (
                ("hat", basis.hats),
                ("learned, first head", basis.weights[0]),
                ("learned, mean of heads", basis.weights.mean(0)),
            )
        )
        for column, i in enumerate(which)
    ]
    panels.append((grid[0, -1], "entropy, mean of heads", basis.entropy.mean(0)))
    panels.append((grid[1, -1], "effective number of tokens", basis.tokens))
    for axes, title, values in panels:
        color_bar(axes, draw_image(axes, basis.y, values, limits=None, colors="viridis"))
        axes.set(title=title, xlabel=coords[0], ylabel=coords[1])
    _energies(grid[2, -1], basis)
    return figure


def _energies(axes, basis: BasisFigureData) -> None:
    short = {".attention": "", ".softmax": "", ".partition": "", "blocks.": ""}
    names = list(basis.free_energy)
    for long, new in short.items():
        names = [name.replace(long, new) for name in names]
    axes.barh(range(len(names)), list(basis.free_energy.values()))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(title="mean free energy of each layer", xlabel="F = −log Z")
