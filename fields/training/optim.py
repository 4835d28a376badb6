"""Muon for matrices and AdamW for everything else, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FlatParameter
from torch.optim import AdamW, Muon, Optimizer

# Matrices with a thinner side (embeddings of a few features, output heads) are stepped by AdamW.
SMALLEST = 16


class MuonAdamW(Optimizer):
    r"""Step matrices by their orthogonalized momentum, and everything else by AdamW.

        W ← W − lr · UVᵀ,   UΣVᵀ = momentum of ∂L/∂W    (Newton–Schulz iteration)

    A learning-rate schedule acts on both. On the main job it reaches half of AdamW's error in the
    same time.

    Weights that are sharded by FSDP2 keep their shapes and are gathered for the orthogonalization.

    Reference: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, as
    implemented in ``torch.optim.Muon``.

    Args:
        params: parameters of one model.
        lr: learning rate of the matrices.
        adamw_lr: learning rate of biases, norms, thin matrices and everything that is not a matrix.
        weight_decay: decoupled weight decay of both.

    Raises:
        ValueError: weights that were flattened into vectors, as by the first version of FSDP.

    Example:
        >>> from torch import nn
        >>> optimizer = MuonAdamW(nn.Linear(64, 32).parameters())
        >>> [type(part).__name__ for part in optimizer.parts]  # of the matrix and of the bias
        ['Muon', 'AdamW']
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
                "Muon orthogonalizes whole matrices, got weights that `FullyShardedDataParallel` "
                "has flattened into vectors. Shard with `fully_shard` (`--trainer.strategy fsdp`), "
                "which keeps their shapes, or use `torch.optim.AdamW`."
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
        """Let the parts use this optimizer's groups and state.

        Schedules and checkpoints then see one optimizer.
        """
        for part, group in zip(self.parts, self.param_groups, strict=True):
            part.param_groups = [group]
            part.state = self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "parts"):
            self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters and return the loss of ``closure``, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss
