"""What all trainings share: loss, schedules, averaged weights, validation, the clock."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any, cast

import lightning.pytorch as L
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fields.core.distributed import broadcast
from fields.core.sample import Sample, Schema
from fields.data.datamodule import FieldDataModule
from fields.data.normalizer import Normalizer
from fields.data.novelty import TrainingRange
from fields.data.symmetry import Symmetry
from fields.metrics.losses import VariableError
from fields.metrics.relative_l2 import RelativeL2
from fields.models.base import Operator
from fields.training.checks import check_learning_rates, check_schedule
from fields.training.divergence import check_validation
from fields.training.optim import MuonAdamW

DECAY = 0.98  # of the average of the weights, per step
DIAGNOSED_SAMPLES = 4  # whose flow is diagnosed at every validation


class Training(L.LightningModule, ABC):
    r"""Minimize the relative L2 error of denormalized fields, averaged over variables.

        w̄ ← 0.98 w̄ + 0.02 w    after every step

    The exponential average w̄ of the weights is what is validated and saved.

    The learning rate rises linearly in the warm-up, then falls to zero like a cosine. A run is
    ``max_epochs`` long, or ``seconds`` of wall time if that ends first. Both schedules and all
    random choices depend only on the step, so a resumed run repeats an uninterrupted one (unless
    wall time ends it).

    Args:
        optimizer: from parameters to the optimizer.
        warmup: share of the run with rising learning rate.
        queries: number of random query points per step; None for all.
        augment: move the points by a random symmetry of the problem, if the file declares any.
        seconds: wall time at which the schedule ends.
        weights: by name of an output, how much its error counts; 1 for the others. See
            :class:`~fields.metrics.losses.VariableError`.
        seed: of the random queries and symmetries.

    Example:
        >>> from fields.training.task import FieldTraining
        >>> training: Training = FieldTraining(queries=64, warmup=0.2)
        >>> training.queries, training.warmup
        (64, 0.2)
    """

    def __init__(
        self,
        *,
        optimizer: Callable[[Iterable], Optimizer] = MuonAdamW,
        warmup: float = 0.1,
        queries: int | None = None,
        augment: bool = True,
        seconds: float | None = None,
        weights: dict[str, float] | None = None,
        seed: int = 0,
    ):
        super().__init__()
        check_schedule(warmup=warmup, queries=queries, seconds=seconds)
        self.optimizer = optimizer
        self.warmup = warmup
        self.queries = queries
        self.augment = augment
        self.seconds = seconds
        self.weights = weights
        self.seed = seed
        self.model: Operator | None = None
        self.average: Operator | None = None
        self.history: list[dict[str, float]] = []
        self.diagnostics: dict[str, float] = {}
        self.elapsed = 0.0
        self._last = 0.0

    @abstractmethod
    def compose(self, schema: Schema, normalizer: Normalizer) -> Operator:
        """Build the model of a problem."""

    def fit_decoder(self, data: FieldDataModule) -> None:
        """Give the model what it takes from the training data before its first step.

        Does nothing unless a subclass overrides it.
        """

    def flow_diagnostics(self, batch: Sample) -> dict[str, float]:
        """Numbers that are logged besides the error, by name; none by default."""
        return {}

    def configure_model(self) -> None:
        """Compose the model when the data are known, and shard it if the strategy says so."""
        if self.model is not None:
            return
        data = self._data()
        schema = cast(Schema, data.schema)
        self.error = VariableError(schema.outputs, data.statistics, self.weights)
        self.val_error = RelativeL2(self.error)
        self.model = self.compose(schema, data.normalizer())
        self.model.training_range = TrainingRange.of(data.train, data.val)
        self.fit_decoder(data)
        self.average = deepcopy(self.model).requires_grad_(False)
        self.symmetry = Symmetry(schema, data.symmetries if self.augment else ())
        if self.device_mesh is not None:
            fully_shard(self, mesh=self.device_mesh["data_parallel"])
            for entry in ("training_step", "validation_step"):  # gather the weights
                register_fsdp_forward_method(self, entry)

    def load_best_weights(self, weights: Mapping[str, Tensor] | None) -> None:
        """Load the averaged weights into the whole model, in every process.

        Args:
            weights: state dict of a checkpoint of this task; None for the present average.
        """
        weights = self.state_dict() if weights is None else weights
        average = {
            key.removeprefix("average."): value
            for key, value in weights.items()
            if key.startswith("average.")
        }
        if self.device_mesh is not None:
            known = cast(Operator, self.model)
            self.model = self.compose(known.schema, self._data().normalizer())
            self.model.training_range = known.training_range
            average = {
                key: value.full_tensor() if isinstance(value, DTensor) else value
                for key, value in average.items()
            }
        cast(Operator, self.model).load_state_dict(average)

    def _data(self) -> FieldDataModule:
        return cast(FieldDataModule, self.trainer.datamodule)  # type: ignore[attr-defined]

    def forward(self, batch: Sample) -> Float[Tensor, "b *s m o"]:
        """Predictions at the query points, in physical units."""
        return cast(Operator, self.model)(batch)

    def training_step(self, batch: Sample, index: int) -> Float[Tensor, ""]:
        """Loss of one batch, after its points have been moved by a random symmetry."""
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + self.global_step)
        loss = self.loss(self.symmetry(batch, random), random)
        self.log("loss", loss, prog_bar=True)
        return loss

    def loss(self, batch: Sample, random: torch.Generator) -> Float[Tensor, ""]:
        """Mean error at a random subset of the query points."""
        batch = self.subsample_queries(batch, random)
        return self.error(self(batch), batch.v, batch.y_mask).mean()

    def subsample_queries(self, batch: Sample, random: torch.Generator) -> Sample:
        """The batch at a random subset of its query points, the same for all samples."""
        if self.queries is None or self.queries >= batch.y.shape[1]:
            return batch
        order = torch.randperm(batch.y.shape[1], generator=random)
        chosen = order[: self.queries].to(batch.y.device)
        return batch._replace(
            y=batch.y[:, chosen], v=batch.v[:, :, chosen], y_mask=batch.y_mask[:, chosen]
        )

    def validation_step(self, batch: Sample, index: int) -> None:
        """Add a batch to the validation error, and diagnose the flow on the first one."""
        self.val_error.update(cast(Operator, self.average)(batch), batch.v, batch.y_mask)
        if index == 0:
            few = Sample(*(part[:DIAGNOSED_SAMPLES] for part in batch))
            self.diagnostics = self.flow_diagnostics(few)

    def on_validation_epoch_end(self) -> None:
        """Log the validation error and the diagnostics, and append them to the history."""
        error = self.val_error.compute()
        self.val_error.reset()
        sanity = self.trainer.sanity_checking
        check_validation(float(error), epoch=self.current_epoch, before_training=sanity)
        self.log("val_error", error, prog_bar=True)
        # Loggers round to single precision, the history does not.
        self.log_dict(self.diagnostics, rank_zero_only=True)
        loss = self.trainer.callback_metrics.get("loss")
        if sanity or loss is None:
            return
        # Each process has seen a part of the batch.
        loss = self.trainer.strategy.reduce(loss, reduce_op="mean")
        row = {
            "epoch": self.current_epoch,
            "seconds": self.elapsed,
            "loss": float(loss),
            "val_error": float(error),
        }
        self.history.append(row | self.diagnostics)

    def progress(self) -> float:
        """Share of the run that is done, by steps or by wall time, whichever is larger."""
        steps = self.global_step / max(self.trainer.estimated_stepping_batches, 1)
        return max(steps, self.elapsed / self.seconds if self.seconds else 0.0)

    def lr_factor(self, *_: Any) -> float:
        """Factor on the learning rate: linear warm-up, then cosine."""
        done = min(self.progress(), 1.0)
        if done < self.warmup:
            return (done + 1e-3) / (self.warmup + 1e-3)
        left = max(1 - self.warmup, 1e-3)
        return 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / left))

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        optimizer = self.optimizer(cast(Operator, self.model).parameters())
        check_learning_rates(optimizer)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step the optimizer, then the average, which equals the weights after the first step."""
        decay = DECAY if self.global_step else 0.0
        super().optimizer_step(*args, **kwargs)
        weights = tuple(cast(Operator, self.model).parameters())
        average = tuple(cast(Operator, self.average).parameters())
        with torch.no_grad():
            get_ema_multi_avg_fn(decay)(average, weights, None)

    def on_train_start(self) -> None:
        """Stop at once if the run that is resumed has used up its wall time."""
        self.trainer.should_stop = bool(self.seconds) and self.elapsed >= (self.seconds or 0.0)

    def on_train_epoch_start(self) -> None:
        """Start the clock, which counts training and not validation."""
        self._last = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """Advance the clock, and stop the run when the schedule has ended."""
        now = time.perf_counter()
        self.elapsed += now - self._last
        self._last = now
        if self.seconds:  # one clock for all processes: they must take the same steps
            self.elapsed = broadcast(self.elapsed)
            self.trainer.should_stop = self.elapsed >= self.seconds

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the clock, the history and the random state."""
        checkpoint["elapsed"] = self.elapsed
        checkpoint["history"] = self.history
        checkpoint["random"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the clock, the history and the random state."""
        self.elapsed = checkpoint["elapsed"]
        self.history = checkpoint["history"]
        torch.set_rng_state(checkpoint["random"])
