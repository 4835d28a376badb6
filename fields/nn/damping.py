"""Tokens as particles: positions and momenta under a learned energy."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Damping(nn.Module):
    """γ ≥ 0, learned through a softplus or fixed."""

    def __init__(self, gamma: float, *, learned: bool):
        super().__init__()
        if gamma < 0 or (learned and gamma == 0):
            raise ValueError(
                f"Damping {gamma} would add energy or never train. Give gamma > 0, or gamma = 0 with learned=False."
            )
        raw = torch.tensor(float(gamma)).expm1().log() if learned else torch.tensor(float(gamma))
        self.learned = learned
        if learned:
            self.raw = nn.Parameter(raw)
        else:
            self.register_buffer("raw", raw)

    def forward(self) -> Float[Tensor, ""]:
        """γ."""
        return nn.functional.softplus(self.raw) if self.learned else self.raw
