"""The basis functions that a decoder's attention has learned, and the free energy of each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
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

# Largest number of points per axis of the pictures.
MAX_POINTS = 200

if TYPE_CHECKING:
    import xarray as xr


class BasisData(NamedTuple):
    """The basis functions αᵢ(y) of one decoder layer for one sample.

    Args:
        y: physical coordinates at which they are evaluated.
        nodes: positions of the tokens, in unit coordinates.
        weights: αᵢ(y), the learned basis functions.
        hats: piecewise linear (multilinear) basis functions on the same nodes.
        entropy: H(y) = −Σᵢ αᵢ log αᵢ.
        tokens: exp H, the effective number of tokens, mean over heads.
        free_energy: mean −log Z of every attention layer of the model, in the order of the calls.

    Example:
        >>> sorted(BasisData.__annotations__)[:3]
        ['entropy', 'free_energy', 'hats']
    """

    y: Float[np.ndarray, "m d"]
    nodes: Float[np.ndarray, "k d"]
    weights: Float[np.ndarray, "heads m k"]
    hats: Float[np.ndarray, "m k"]
    entropy: Float[np.ndarray, "heads m"]
    tokens: Float[np.ndarray, "m"]
    free_energy: dict[str, float]


def hat_functions(
    x: Float[Tensor, "m d"], nodes: Float[Tensor, "k d"], periodic: tuple[bool, ...]
) -> Float[Tensor, "m k"]:
    """φᵢ(x) = Π_a max(0, 1 − |x_a − x_ia| / h_a), in unit coordinates.

    Beyond the outermost nodes of an axis that is not periodic the functions are constant.

    Args:
        x: points.
        nodes: xᵢ, on a regular grid.
        periodic: which axes are.

    Raises:
        ValueError: the nodes are not on a regular grid.

    Example:
        >>> nodes = torch.tensor([[-0.25], [0.25]])
        >>> hat_functions(torch.tensor([[0.0], [0.25]]), nodes, (False,))
        tensor([[0.5000, 0.5000],
                [0.0000, 1.0000]])
    """
    axes = [nodes[:, a].unique() for a in range(nodes.shape[1])]
    if np.prod([len(axis) for axis in axes]) != len(nodes):
        raise ValueError(
            f"Hat functions need tokens on a regular grid, got {len(nodes)} tokens that are not. "
            "Use a model with a grid of tokens."
        )
    out = torch.ones(len(x), len(nodes), dtype=x.dtype)
    for a, axis in enumerate(axes):
        spacing = 1 / len(axis)
        position = x[:, a] if periodic[a] else x[:, a].clamp(axis[0], axis[-1])
        offset = position[:, None] - nodes[:, a]
        offset = offset - offset.round() if periodic[a] else offset
        out = out * (1 - offset.abs() / spacing).clamp_min(0)
    return out


@torch.no_grad()
def basis_data(model: Operator, ds: xr.Dataset, *, sample: int = 0, points: int = 64) -> BasisData:
    """Evaluate the last cross-attention of the decoder on a fine grid.

    Args:
        model: with a cross-attention decoder.
        ds: data of the model's problem.
        sample: index of the sample in `ds`.
        points: number of points per axis, at most 200.

    Raises:
        ValueError: the decoder has no attention to all tokens.
    """
    schema = model.schema
    points = min(points, MAX_POINTS)
    axes = {
        name: np.linspace(low, high, points, endpoint=not closed)
        for name, (low, high), closed in zip(
            schema.coords, schema.bounds, schema.periodic, strict=True
        )
    }

    def record(
        layer: AttentionLayer, *args: Tensor, **kwargs: Tensor
    ) -> tuple[Tensor | None, AttentionStatistics, Tensor | None, Tensor | None]:
        weights = layer.weights(*args, **kwargs) if layer in decoder else None
        return weights, layer.stats(*args, **kwargs), kwargs.get("x_q"), kwargs.get("x_k")

    decoder = [m for m in model.get_submodule("decoder").modules() if isinstance(m, Attention)]
    with capture_attention(model, record) as seen:
        model.predict(ds.isel(sample=[sample]), at=axes, memory=1e12)
    names = [n for n in seen if model.get_submodule(n) in decoder]
    if not names:
        raise ValueError(
            "The decoder of this model has no attention to all tokens, and so no basis functions. "
            "Use a model with `decoders.CrossAttention` without `nearest`."
        )
    weights, stats, x_q, x_k = seen[names[-1]][0]
    assert weights is not None and x_q is not None and x_k is not None, "a layer of the decoder"
    return BasisData(
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
    """Draw the learned basis functions of a decoder next to hat functions on the same nodes.

    Further panels show the entropy H of the attention weights and the effective number of tokens
    exp H at every point, and the mean free energy −log Z of every attention layer of the model.

    Args:
        model: with a cross-attention decoder, in one or two dimensions.
        ds: data of the model's problem.
        sample: index of the sample in `ds`.
        shown: number of tokens whose basis functions are drawn.
        points: number of points per axis, at most 200.

    Raises:
        ValueError: the model has more than two dimensions, or no suitable decoder.
    """
    d = model.schema.dim
    if d > 2:
        raise ValueError(
            f"`attention_basis` draws basis functions in one or two dimensions, got {d}. "
            "Use `fields.plot.attention.basis_data` for their values."
        )
    basis = basis_data(model, ds, sample=sample, points=points)
    across = np.linspace(-0.5, 0.5, shown + 2)[1:-1, None].repeat(d, axis=1)
    across[:, 1:] = np.roll(across[:, 1:], 1, axis=0)  # not all on the diagonal
    which = np.linalg.norm(across[:, None] - basis.nodes, axis=-1).argmin(1)
    draw = _lines if d == 1 else _images
    return draw(basis, which, model.schema.coords)


def _lines(basis: BasisData, which: Int[np.ndarray, "i"], coords: tuple[str, ...]) -> Figure:
    figure = new_figure(14.0, 5.2)
    (hats, first, last, mean), (entropy, count, energy, empty) = figure.subplots(2, 4)
    panels = (
        (hats, "hat functions", basis.hats),
        (first, "learned, first head", basis.weights[0]),
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


def _images(basis: BasisData, which: Int[np.ndarray, "i"], coords: tuple[str, ...]) -> Figure:
    figure = new_figure(3.0 * (len(which) + 1), 8.0)
    grid = figure.subplots(3, len(which) + 1)
    panels = [
        (grid[row, column], f"{title}, token {i}", values[:, i])
        for row, (title, values) in enumerate(
            (
                ("hat function", basis.hats),
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


def _energies(axes: Axes, basis: BasisData) -> None:
    names = list(basis.free_energy)
    for part in (".attention", ".softmax", ".partition", "blocks."):  # the names become short
        names = [name.replace(part, "") for name in names]
    axes.barh(range(len(names)), list(basis.free_energy.values()))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(title="mean free energy of each layer", xlabel="F = −log Z")
