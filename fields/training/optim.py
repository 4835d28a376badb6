"""Muon for matrices, AdamW for the rest, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FlatParameter
from torch.optim import AdamW, Muon, Optimizer

SMALLEST = (
    16  # matrices with a thinner side (embeddings of a few features, output heads) are AdamW's
)


class MuonAdamW(Optimizer):
    r"""Steps matrices by their orthogonalized momentum, everything else by AdamW; one learning-rate schedule for both.

        W ← W − lr · UVᵀ,   UΣVᵀ = momentum of ∂L/∂W  (Newton–Schulz)

    On the default job it reaches half of AdamW's error in the same time
    (benchmarks/results/burgers_recipe.md).

    Sharded weights (FSDP2, whose parts keep their shapes) are put together for the
    orthogonalization; DDP needs nothing.

    Reference: Jordan et al. 2024 (Muon), as implemented in ``torch.optim.Muon``.

    Args:
        params: parameters of one model.
        lr: learning rate of the matrices.
        adamw_lr: learning rate of biases, norms, thin matrices and everything that is not a matrix.
        weight_decay: decoupled, for both.

    Raises:
        ValueError: weights that were flattened into vectors, as by the first version of FSDP.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float = 0.02,
        adamw_lr: float = 2e-3,
        weight_decay: float = 0.01,
    ):
        params = [p for p in params if p.requires_grad]
        if any(
            isinstance(p, FlatParameter) or getattr(p, "_fsdp_flattened", False) for p in params
        ):
            raise ValueError(
                "Muon orthogonalizes whole matrices, got weights that `FullyShardedDataParallel` has flattened into vectors. "
                "Shard with `fully_shard` (`--trainer.strategy fsdp`), which keeps their shapes, or use `torch.optim.AdamW`."
            )
        matrices = [p for p in params if p.ndim == 2 and min(p.shape) >= SMALLEST]
        others = [p for p in params if not (p.ndim == 2 and min(p.shape) >= SMALLEST)]
        groups = [{"params": matrices, "lr": lr}, {"params": others, "lr": adamw_lr}]
        super().__init__(
            [group for group in groups if group["params"]], {"weight_decay": weight_decay}
        )
        parts: list[Optimizer] = []
        if matrices:
            parts.append(Muon(matrices, lr=lr, weight_decay=weight_decay))
        if others:
            parts.append(AdamW(others, lr=adamw_lr, weight_decay=weight_decay))
        self.parts = parts
        self.param_groups = [group for part in parts for group in part.param_groups]
        self._share()

    def _share(self) -> None:
        """The parts keep their state and settings here, so that schedules and checkpoints see one optimizer."""
        for part, group in zip(self.parts, self.param_groups, strict=True):
            part.param_groups, part.state = [group], self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "parts"):
            self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss
