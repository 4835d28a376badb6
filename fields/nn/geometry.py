"""Distances and rotations of token positions, which respect periodic axes.

Unit coordinates: each axis is mapped to [−1/2, 1/2] by the domain's bounds, so a periodic axis has
period 1.
"""

from __future__ import annotations

import math

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn


def periodic_coordinates(
    x: Float[Tensor, "b n d"], periodic: Bool[Tensor, "d"]
) -> Float[Tensor, "b n e"]:
    """Euclidean coordinates in which periodic axes are closed: e = 2 d columns, two per axis.

        periodic:  x -> (sin 2πx, cos 2πx) / 2π        else:  x -> (x, 0)

    Distances between neighbors are exact to third order. On a periodic axis they are chords of a
    circle of circumference 1.
    """
    angle = 2 * math.pi * x
    first = torch.where(periodic, angle.sin() / (2 * math.pi), x)
    second = torch.where(periodic, angle.cos() / (2 * math.pi), torch.zeros_like(x))
    return torch.cat([first, second], dim=-1)


def grid_axes(x: Float[Tensor, "#b n d"]) -> tuple[list[Float[Tensor, "n"]], list[int]] | None:
    """Coordinates along each axis of a regular grid, and the axes from slowest to fastest.

    None if the points of the batch are not one product of axes.
    """
    first = x[0]
    # index of the first point whose coordinate differs from that of the first point
    moves = [int((first[:, a] != first[0, a]).int().argmax()) for a in range(x.shape[-1])]
    order = sorted(range(x.shape[-1]), key=lambda a: -moves[a])
    axes = [first[:1, a] for a in range(x.shape[-1])]
    faster = 1
    for a in reversed(order):
        size = len(torch.unique(first[:, a]))
        axes[a] = first[: size * faster : faster, a]
        faster *= size
    mesh = torch.stack(torch.meshgrid(*(axes[a] for a in order), indexing="ij"), dim=-1).reshape(
        -1, x.shape[-1]
    )
    if len(x) != 1 or mesh.shape != first.shape or not torch.equal(mesh, first[:, order]):
        return None
    return axes, order


class DistanceScore(nn.Module):
    r"""The geometric term of an attention score, one learned length ℓ per head.

        s_g(x, xᵢ) = −‖x − xᵢ‖² / (2 ℓ²)

    With zero content score the attention weights are normalized Gaussians: a partition of unity
    around the keys. The term is bilinear in appended columns, q ↦ [x, 1, ‖x‖²] and
    k ↦ [xᵢ/ℓ², −‖xᵢ‖²/(2ℓ²), −1/(2ℓ²)]. The norm of the query cancels in the softmax, but with it
    the scores that matter are near zero, where narrow number formats have the finest resolution.

    Args:
        heads: number of heads.
        lengths: ℓ of the first and the last head at initialization, in unit coordinates; those of
            the other heads lie between them, geometrically.

    Example:
        >>> score = DistanceScore(heads=2, lengths=(0.1, 1.0))
        >>> q, k = score(torch.rand(1, 3, 1), torch.rand(1, 5, 1), torch.tensor([False]))
        >>> (q @ k.mT).shape
        torch.Size([1, 2, 3, 5])
    """

    def __init__(self, *, heads: int, lengths: tuple[float, float]):
        super().__init__()
        low = math.log(lengths[0])
        high = math.log(lengths[1])
        self.log_length = nn.Parameter(torch.linspace(low, high, heads))

    def forward(
        self, x_q: Float[Tensor, "b m d"], x_k: Float[Tensor, "bk k d"], periodic: Bool[Tensor, "d"]
    ) -> tuple[Float[Tensor, "b 1 m e"], Float[Tensor, "bk heads k e"]]:
        """Columns to append to queries and keys; their product is the geometric score."""
        q = periodic_coordinates(x_q, periodic)
        k = periodic_coordinates(x_k, periodic)
        precision = torch.exp(-2 * self.log_length)
        scaled = einsum(k, precision, "b k e, heads -> b heads k e")
        offset = einsum(k.square().sum(-1), -0.5 * precision, "b k, heads -> b heads k")
        own = repeat(-0.5 * precision, "heads -> b heads k", b=len(k), k=k.shape[1])
        q = torch.cat([q, torch.ones_like(q[..., :1]), q.square().sum(-1, keepdim=True)], dim=-1)
        return q[:, None], torch.cat([scaled, torch.stack([offset, own], dim=-1)], dim=-1)


# Lowest geometric score: e⁻⁴⁰ is negligible beside 1, and weights are not subnormal numbers.
FLOOR = -40.0


def distance_scores(
    distance2: Float[Tensor, "#b m k"], log_length: Float[Tensor, "heads"]
) -> Float[Tensor, "#b heads m k"]:
    """max(−‖x − xᵢ‖²/2ℓ², FLOOR) for each head.

    Without the floor, distant tokens get weights below 1e-38. CPUs multiply such numbers a hundred
    times slower than others, and matrix products with them took up to thirty times as long.
    """
    return torch.clamp(
        distance2[:, None] * (-0.5 * (-2 * log_length).exp())[:, None, None], min=FLOOR
    )


class Rotary(nn.Module):
    r"""Rotation of pairs of channels by angles 2π ω·x, so that only relative positions matter.

        R(x) acts on channel pair j as the rotation by 2π f_j x_{a(j)}, and
        ⟨R(x) q, R(x') k⟩ = ⟨q, R(x' − x) k⟩

    Pair j rotates with axis a(j) = j mod d. On periodic axes the frequencies f_j are integers, so
    that R is exactly periodic.

    Reference: Su et al. 2021 (RoPE); Miyato et al. 2023 (GTA) for the rotation of values.

    Args:
        width: channels per head; the last width mod 2d channels are not rotated.
        max_frequency: the largest f, in turns per domain. The width/2d frequencies of an axis run
            from 0 to it, denser at the low end; a head of fewer than 4d channels has only f = 0 and
            is not rotated.

    Example:
        >>> cos, sin = Rotary(8, max_frequency=4.0)(torch.rand(1, 5, 1), torch.tensor([True]))
        >>> cos.shape
        torch.Size([1, 1, 5, 4])
    """

    def __init__(self, width: int, *, max_frequency: float):
        super().__init__()
        self.width = width
        self.max_frequency = max_frequency

    def forward(
        self, x: Float[Tensor, "b n d"], periodic: Bool[Tensor, "d"]
    ) -> tuple[Float[Tensor, "b 1 n e"], Float[Tensor, "b 1 n e"]]:
        """Cosines and sines of the angles, e = width / 2 pairs."""
        d = x.shape[-1]
        pairs = self.width // 2
        per_axis = pairs // d
        f = torch.linspace(0, 1, per_axis, device=x.device, dtype=x.dtype)
        f = self.max_frequency * (f + f.square()) / 2  # denser at low frequencies
        turns = torch.where(periodic[:, None], f.round(), f)
        angle = rearrange(2 * math.pi * x[..., None] * turns, "b n d pair -> b 1 n (pair d)")
        angle = torch.nn.functional.pad(angle, (0, pairs - d * per_axis))
        return angle.cos(), angle.sin()


def rotate(
    values: Float[Tensor, "*b heads n w"],
    turn: tuple[Float[Tensor, "b 1 n e"], Float[Tensor, "b 1 n e"]],
    *,
    back: bool = False,
) -> Float[Tensor, "*b heads n w"]:
    """R(x) values, or R(x)ᵀ values with ``back``; ``turn`` holds the cosines and sines of R."""
    cos = turn[0].to(values.dtype)
    sin = turn[1].to(values.dtype)
    sin = -sin if back else sin
    first, second = values.chunk(2, dim=-1)
    return torch.cat(
        [
            torch.addcmul(first * cos, second, sin, value=-1),
            torch.addcmul(first * sin, second, cos),
        ],
        dim=-1,
    )
