"""How a training stops early: numbers that are not finite, and interruptions."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from fields.core.sample import Sample


class DivergedError(RuntimeError):
    """A loss, a gradient or a validation error is not finite.

    ``kept`` says whether the training was left with finite weights of an earlier validation.

    Example:
        >>> DivergedError("The loss is nan at step 3.").kept
        False
    """

    kept = False


class InterruptedTraining(KeyboardInterrupt):
    """A training was interrupted by Ctrl-C or SIGTERM.

    ``kept`` says whether the training was left with the weights of an earlier validation.

    Example:
        >>> InterruptedTraining("The training was interrupted in epoch 2.").kept
        False
    """

    kept = False


class FiniteTraining(L.Callback):
    """Raise before the optimizer uses a loss or a gradient that is not finite.

    Neither the weights nor their average have then seen it. All processes stop at the same step.

    Example:
        >>> FiniteTraining().lowest  # loss so far
        inf
    """

    def __init__(self) -> None:
        self.lowest = math.inf
        self.last = math.nan
        self.loss: Tensor = torch.zeros(())
        self.batch: Sample | None = None

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, *_: Any) -> None:
        """Keep the batch, to say later what is wrong with it."""
        self.batch = batch

    def on_before_backward(self, trainer: Any, module: Any, loss: Tensor) -> None:
        """Remember the loss of this step."""
        self.loss = loss.detach()

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        """Check the loss and the gradient of this step.

        Raises:
            DivergedError: one of them is not finite, in any process.
        """
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        norm = get_total_norm(gradients) if gradients else torch.zeros(())
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        loss = float(self.loss)
        failed = not (math.isfinite(loss) and math.isfinite(float(norm)))
        if trainer.world_size > 1:
            failed = trainer.strategy.reduce_boolean_decision(failed, all=False)
        if failed:
            what = "the gradient" if math.isfinite(loss) else "the loss"
            where = f"step {trainer.global_step + 1}, in epoch {trainer.current_epoch + 1}"
            raise DivergedError(
                f"The training was stopped at {where}, because {what} is not finite. "
                f"{self._reason(trainer.global_step)}"
            )
        self.last = loss
        self.lowest = min(self.lowest, loss)

    def _reason(self, steps: int) -> str:
        """What is probably wrong and what to do."""
        wrong = [] if self.batch is None else _not_finite(self.batch)
        if wrong:
            return f"The batch has {' and '.join(wrong)} that are not finite: mask or remove them."
        if not steps:
            return "It was the first step: check the scale of the data and the model."
        return (
            f"The loss of the step before was {self.last:.3g}, the lowest so far "
            f"{self.lowest:.3g}: use a lower learning rate or a longer warm-up."
        )


def check_validation(error: float, *, epoch: int, before_training: bool) -> None:
    """Refuse a validation error that is not finite, before its weights are saved as the best.

    Raises:
        DivergedError: it is not finite.

    Example:
        >>> check_validation(0.1, epoch=0, before_training=False)
    """
    if math.isfinite(error):
        return
    if before_training:
        raise DivergedError(
            "The training was not started, because the validation error of the initial weights is "
            f"{error}. Check the validation samples for values that are not finite, and the scale "
            "of the data."
        )
    raise DivergedError(
        f"The training was stopped after epoch {epoch + 1}, because its validation error is "
        f"{error}. If the loss was falling, check the validation samples for values that are not "
        "finite; else use a lower learning rate."
    )


def _not_finite(batch: Sample) -> list[str]:
    """Which parts of a batch have numbers at real points that are not finite."""
    inputs = batch.u.isfinite() | ~batch.x_mask[..., None]
    targets = batch.v.isfinite() | ~batch.y_mask[:, None, :, None]
    parts = {"inputs": inputs, "targets": targets, "parameters": batch.params.isfinite()}
    return [name for name, finite in parts.items() if not finite.all()]
