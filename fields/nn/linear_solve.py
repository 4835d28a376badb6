"""Exact steps for the quadratic energy: rotations by a skew operator, with and without friction."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def solve_symmetric(
    matrix: Float[Tensor, "b heads k k"], x: Float[Tensor, "b heads k e"]
) -> Float[Tensor, "b heads k e"]:
    """matrix⁻¹ x, head by head, for a symmetric positive definite matrix. Unchecked, hence no wait for the device."""
    return SymmetricSolve.apply(matrix, x)  # type: ignore[no-any-return]


class SymmetricSolve(torch.autograd.Function):
    """x = A⁻¹ b by Cholesky;   db = A⁻¹ dx,   dA = −db xᵀ: the factor is used again, not differentiated."""

    @staticmethod
    def forward(
        ctx, a: Float[Tensor, "*b k k"], b: Float[Tensor, "*b k e"]
    ) -> Float[Tensor, "*b k e"]:
        """x."""
        factor = torch.linalg.cholesky_ex(a).L
        x = torch.cholesky_solve(b, factor)
        ctx.save_for_backward(factor, x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, d_x: Tensor) -> tuple[Tensor, Tensor]:
        """dA, for whatever symmetric function of parameters A is, and db."""
        factor, x = ctx.saved_tensors
        d_b = torch.cholesky_solve(d_x, factor)
        return -(d_b @ x.mT), d_b


def gram_matrix(matrix: Float[Tensor, "b heads m n"]) -> Float[Tensor, "b heads m m"]:
    """B Bᵀ."""
    return GramMatrix.apply(matrix)  # type: ignore[no-any-return]


class GramMatrix(torch.autograd.Function):
    """B Bᵀ;   dB = (dG + dGᵀ) B: one product, where autograd makes two."""

    @staticmethod
    def forward(ctx, matrix: Float[Tensor, "b heads m n"]) -> Float[Tensor, "b heads m m"]:
        """B Bᵀ."""
        ctx.save_for_backward(matrix)
        return matrix @ matrix.mT

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        """dB."""
        (matrix,) = ctx.saved_tensors
        return (grad + grad.mT) @ matrix


def identity(size: int, like: Tensor) -> Tensor:
    """The identity, in the dtype and on the device of ``like``."""
    return torch.eye(size, dtype=like.dtype, device=like.device)
