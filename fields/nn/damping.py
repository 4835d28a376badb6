"""A learned damping coefficient."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Damping(nn.Module):
    """γ ≥ 0, learned through a softplus or fixed.

    Args:
        gamma: γ, the initial value if learned.
        learned: whether γ is trained.

    Raises:
        ValueError: a negative γ, or a learned γ that starts at 0.

    Example:
        >>> round(Damping(0.1, learned=True)().item(), 6)
        0.1
    """

    def __init__(self, gamma: float, *, learned: bool):
        super().__init__()
        if gamma < 0 or (learned and gamma == 0):
            raise ValueError(
                f"A damping of {gamma} would add energy or could not be trained. "
                "Give gamma > 0, or gamma = 0 with learned=False."
            )
        raw = torch.tensor(float(gamma)).expm1().log() if learned else torch.tensor(float(gamma))
        self.learned = learned
        if learned:
            self.raw = nn.Parameter(raw)
        else:
            self.register_buffer("raw", raw)

    def forward(self) -> Float[Tensor, ""]:
        """The scalar γ ≥ 0, the softplus of the parameter where it is learned."""
        return nn.functional.softplus(self.raw) if self.learned else self.raw
