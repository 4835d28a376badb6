r"""Symplectic splitting of order 4 for H = A + B whose two flows are known.

    z⁺ = A_{a₁h} B_{b₁h} A_{a₂h} B_{b₂h} A_{a₃h} B_{b₃h} A_{a₄h} B_{b₃h} A_{a₃h} B_{b₂h} A_{a₂h}
    B_{b₁h} A_{a₁h} z

It is symplectic and symmetric, so the error of H stays bounded for all times.

Reference: Blanes & Moan, J. Comput. Appl. Math. 142 (2002), Table 2, method S₆ of order 4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

A1 = 0.0792036964311957
A2 = 0.353172906049774
A3 = -0.0420650803577195
B1 = 0.209515106613362
B2 = -0.143851773179818
A4 = 1 - 2 * (A1 + A2 + A3)
B3 = 0.5 - B1 - B2
A = (A1, A2, A3, A4, A3, A2, A1)
B = (B1, B2, B3, B3, B2, B1)

Flow = Callable[[Tensor], Tensor]


def splitting(
    a: Callable[[float], Flow], b: Callable[[float], Flow], *, dt: float, steps: int
) -> Flow:
    """The map of `steps` steps of size dt; `a(h)` makes the map of the first flow over time h.

    Last and first map of neighboring steps are merged.
    """
    inner_a = {c: a(c * dt) for c in set(A)}
    inner_b = {c: b(c * dt) for c in set(B)}
    joint = a(2 * A1 * dt)

    def advance(z: Tensor) -> Tensor:
        z = inner_a[A1](z)
        for step in range(steps):
            for i, c in enumerate(B):
                z = inner_b[c](z)
                if i < len(B) - 1:
                    z = inner_a[A[i + 1]](z)
            z = joint(z) if step < steps - 1 else inner_a[A1](z)
        if not bool(torch.isfinite(z).all()):
            raise FloatingPointError(
                f"No finite solution after {steps} steps of {dt:g}: take smaller steps."
            )
        return z

    return advance
