"""Symmetric linear solves with short backward passes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def solve_symmetric(
    matrix: Float[Tensor, "b heads k k"], x: Float[Tensor, "b heads k e"]
) -> Float[Tensor, "b heads k e"]:
    """matrix⁻¹ x for symmetric positive definite matrices, head by head.

    The factorization is not checked, which would synchronize with the device.

    Example:
        >>> solve_symmetric(2 * torch.eye(3), torch.ones(3, 1)).flatten()
        tensor([0.5000, 0.5000, 0.5000])
    """
    return SymmetricSolve.apply(matrix, x)  # type: ignore[no-any-return]


class SymmetricSolve(torch.autograd.Function):
    """x = A⁻¹ b by Cholesky;   db = A⁻¹ dx,   dA = −db xᵀ, with the factor of the forward pass.

    Example:
        >>> SymmetricSolve.apply(2 * torch.eye(3), torch.ones(3, 1)).shape
        torch.Size([3, 1])
    """

    @staticmethod
    def forward(
        ctx: Any, a: Float[Tensor, "*b k k"], b: Float[Tensor, "*b k e"]
    ) -> Float[Tensor, "*b k e"]:
        """x = A⁻¹ b.   Shape: (*b k k), (*b k e) -> (*b k e)."""
        factor = torch.linalg.cholesky_ex(a).L
        x = torch.cholesky_solve(b, factor)
        ctx.save_for_backward(factor, x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_x: Tensor) -> tuple[Tensor, Tensor]:
        """dA, valid for any A that is a symmetric function of parameters, and db."""
        factor, x = ctx.saved_tensors
        d_b = torch.cholesky_solve(d_x, factor)
        return -(d_b @ x.mT), d_b


def gram_matrix(matrix: Float[Tensor, "b heads m n"]) -> Float[Tensor, "b heads m m"]:
    """B Bᵀ, head by head.

    Example:
        >>> gram_matrix(torch.ones(1, 1, 2, 3)).shape
        torch.Size([1, 1, 2, 2])
    """
    return GramMatrix.apply(matrix)  # type: ignore[no-any-return]


class GramMatrix(torch.autograd.Function):
    """B Bᵀ;   dB = (dG + dGᵀ) B, one product where autograd computes two.

    Example:
        >>> GramMatrix.apply(torch.ones(1, 1, 2, 3)).shape
        torch.Size([1, 1, 2, 2])
    """

    @staticmethod
    def forward(ctx: Any, matrix: Float[Tensor, "b heads m n"]) -> Float[Tensor, "b heads m m"]:
        """B Bᵀ.   Shape: (b heads m n) -> (b heads m m)."""
        ctx.save_for_backward(matrix)
        return matrix @ matrix.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """dB.   Shape: (b heads m m) -> (b heads m n)."""
        (matrix,) = ctx.saved_tensors
        return (grad + grad.mT) @ matrix


def identity(size: int, like: Tensor) -> Tensor:
    """The identity, in the dtype and on the device of ``like``."""
    return torch.eye(size, dtype=like.dtype, device=like.device)
