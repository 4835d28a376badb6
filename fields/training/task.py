"""Training with Lightning: loss, schedule, metrics, and the one place where the parts of a model are composed."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any, cast

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fields.core.distributed import broadcast
from fields.core.sample import Sample, Schema, collate
from fields.data.datamodule import FieldDataModule
from fields.data.normalizer import Normalizer
from fields.data.symmetry import Symmetry
from fields.decoders.base import Decoder, FittedDecoder
from fields.decoders.cross_attention import CrossAttention
from fields.encoders.base import Encoder
from fields.encoders.windowed_moments import WindowedMoments
from fields.metrics.losses import relative_l2
from fields.metrics.relative_l2 import RelativeL2
from fields.models.base import Operator
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import Autoregressive, Propagator
from fields.models.static import FieldOperator
from fields.nn.skip import SkipMoments
from fields.processors.base import Processor
from fields.processors.stack import Stack
from fields.processors.transformer import Transformer
from fields.training.objective import Objective
from fields.training.optim import MuonAdamW

DECAY = 0.98  # of the average of the weights, per step

DIAGNOSED = 4  # samples whose flow is watched at every validation


class Training(L.LightningModule, ABC):
    r"""Minimizes the mean relative L2 error of denormalized fields.

    What is validated and kept is the exponential average of the weights, w̄ ← 0.98 w̄ + 0.02 w
    after every step.

    Learning rate: linear warm-up, then cosine to zero over the run. The run is ``max_epochs`` long,
    or ``seconds`` of wall time where that comes first; both schedules and all random choices depend
    on the step alone, so a resumed run repeats an uninterrupted one (unless wall time ends it).

    Args:
        optimizer: from parameters to optimizer.
        warmup: share of the run with rising learning rate.
        queries: train on so many random query points per step; None for all.
        augment: move the points by a random symmetry of the problem, where the file declares
            symmetries.
        seconds: wall time at which the schedule ends.
        seed: of the random queries and symmetries.
    """

    def __init__(
        self,
        *,
        optimizer: Callable[[Iterable], Optimizer] = MuonAdamW,
        warmup: float = 0.1,
        queries: int | None = None,
        augment: bool = True,
        seconds: float | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.optimizer, self.warmup, self.queries, self.augment, self.seconds = (
            optimizer,
            warmup,
            queries,
            augment,
            seconds,
        )
        self.seed = seed
        self.model: Operator | None = None
        self.average: Operator | None = None
        self.history: list[dict[str, float]] = []
        self.diagnostics: dict[str, float] = {}
        self.elapsed, self._last = 0.0, 0.0
        self.val_error = RelativeL2()

    @abstractmethod
    def compose(self, schema: Schema, normalizer: Normalizer) -> Operator:
        """The model for a problem."""

    def configure_model(self) -> None:
        """Composes the model once the data are known, and cuts it into one part per process where the strategy is to shard."""
        if self.model is None:
            data = cast(FieldDataModule, self.trainer.datamodule)  # type: ignore[attr-defined]
            schema = cast(Schema, data.schema)
            self.model = self.compose(schema, Normalizer(schema, data.statistics))
            self.fit_decoder(data)
            self.average = deepcopy(self.model).requires_grad_(False)
            self.symmetry = Symmetry(schema, data.symmetries if self.augment else ())
            if self.device_mesh is not None:
                fully_shard(self, mesh=self.device_mesh["data_parallel"])
                for entry in ("training_step", "validation_step"):  # gather the weights
                    register_fsdp_forward_method(self, entry)

    def fit_decoder(self, data: FieldDataModule) -> None:
        """What the composed model takes from the training data before its first step; nothing here."""

    def load_best_weights(self, weights: Mapping[str, Tensor] | None) -> None:
        """Leaves the whole model in every process, with the average that a checkpoint holds, or the present one."""
        weights = self.state_dict() if weights is None else weights
        own = {
            key.removeprefix("average."): value
            for key, value in weights.items()
            if key.startswith("average.")
        }
        if self.device_mesh is not None:
            data, model = cast(FieldDataModule, self.trainer.datamodule), cast(Operator, self.model)  # type: ignore[attr-defined]
            self.model = self.compose(model.schema, Normalizer(model.schema, data.statistics))
            own = {
                key: getattr(value, "full_tensor", lambda value=value: value)()
                for key, value in own.items()
            }
        cast(Operator, self.model).load_state_dict(own)

    def forward(self, batch: Sample) -> Tensor:
        """Predictions in physical units."""
        return cast(Operator, self.model)(batch)

    def training_step(self, batch: Sample, index: int) -> Tensor:
        """Loss of one batch, its points moved by a symmetry and its queries thinned out."""
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + self.global_step)
        loss = self.loss(self.symmetry(batch, random), random)
        self.log("loss", loss, prog_bar=True)
        return loss

    def loss(self, batch: Sample, random: torch.Generator) -> Tensor:
        """Mean relative L2 at a random part of the queries."""
        batch = self.subsample_queries(batch, random)
        return relative_l2(self(batch), batch.v, batch.y_mask).mean()

    def subsample_queries(self, batch: Sample, random: torch.Generator) -> Sample:
        """A random subset of the query points, the same for the whole batch."""
        if self.queries is None or self.queries >= batch.y.shape[1]:
            return batch
        chosen = torch.randperm(batch.y.shape[1], generator=random)[: self.queries].to(
            batch.y.device
        )
        return batch._replace(
            y=batch.y[:, chosen], v=batch.v[:, :, chosen], y_mask=batch.y_mask[:, chosen]
        )

    def validation_step(self, batch: Sample, index: int) -> None:
        """Adds to the validation error; some samples of the first batch are watched as they flow."""
        self.val_error.update(cast(Operator, self.average)(batch), batch.v, batch.y_mask)
        if index == 0:
            self.diagnostics = self.flow_diagnostics(Sample(*(part[:DIAGNOSED] for part in batch)))

    def flow_diagnostics(self, batch: Sample) -> dict[str, float]:
        """What is worth a line of the log besides the error."""
        return {}

    def on_validation_epoch_end(self) -> None:
        """Logs the validation error and what was watched, and remembers the curve."""
        error = self.val_error.compute()
        self.val_error.reset()
        self.log("val_error", error, prog_bar=True)
        self.log_dict(
            self.diagnostics, rank_zero_only=True
        )  # loggers round to single precision, the history does not
        loss = self.trainer.callback_metrics.get("loss")
        if not self.trainer.sanity_checking and loss is not None:
            loss = self.trainer.strategy.reduce(
                loss, reduce_op="mean"
            )  # each process has seen a part of the batch
            row = {
                "epoch": self.current_epoch,
                "seconds": self.elapsed,
                "loss": float(loss),
                "val_error": float(error),
            }
            self.history.append(row | self.diagnostics)

    def progress(self) -> float:
        """Share of the run that is done, by steps or by wall time."""
        steps = self.global_step / max(self.trainer.estimated_stepping_batches, 1)
        return max(steps, self.elapsed / self.seconds if self.seconds else 0.0)

    def lr_factor(self, *_: Any) -> float:
        """Factor on the learning rate: linear warm-up, then cosine."""
        done = min(self.progress(), 1.0)
        if done < self.warmup:
            return (done + 1e-3) / (self.warmup + 1e-3)
        return 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        optimizer = self.optimizer(cast(Operator, self.model).parameters())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """A step, and one of the average, which begins as the weights after the first one."""
        decay = DECAY if self.global_step else 0.0
        super().optimizer_step(*args, **kwargs)
        ours, average = (
            tuple(cast(Operator, model).parameters()) for model in (self.model, self.average)
        )
        with torch.no_grad():
            get_ema_multi_avg_fn(decay)(average, ours, None)

    def on_train_start(self) -> None:
        """A resumed run whose time has ended does not begin again."""
        self.trainer.should_stop = bool(self.seconds) and self.elapsed >= (self.seconds or 0.0)

    def on_train_epoch_start(self) -> None:
        """The clock of the schedule runs in training alone, not in validation."""
        self._last = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """Advances the clock, and stops the run when the schedule has ended."""
        now = time.perf_counter()
        self.elapsed, self._last = self.elapsed + now - self._last, now
        if self.seconds:  # one clock for all processes: they must take the same steps
            self.elapsed = broadcast(self.elapsed)
            self.trainer.should_stop = self.elapsed >= self.seconds

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What resuming needs beyond weights."""
        checkpoint["elapsed"], checkpoint["history"], checkpoint["random"] = (
            self.elapsed,
            self.history,
            torch.get_rng_state(),
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continues exactly."""
        self.elapsed, self.history = checkpoint["elapsed"], checkpoint["history"]
        torch.set_rng_state(checkpoint["random"])


class FieldTraining(Training):
    """Trains a conditional neural field made of an encoder, a processor, a decoder and a skip path.

    Args:
        dim: token width, written once and given to every part.
        encoder, decoder: from (dim, schema) to the part.
        processor: from dim to the part.
        skip: from the number of axes to the skip path of static maps; None for none.
        propagator: from (dim, processor) to what moves the code in time (evolution problems).
        objective: the terms of the loss of evolution problems.

    The remaining arguments are those of :class:`Training`.
    """

    def __init__(
        self,
        *,
        dim: int = 128,
        encoder: Callable[[int, Schema], Encoder] = WindowedMoments,
        processor: Callable[[int], Processor] = Transformer,
        decoder: Callable[[int, Schema], Decoder] = CrossAttention,
        skip: Callable[[int], SkipMoments] | None = None,
        propagator: Callable[[int, Processor], Propagator] = Autoregressive,
        objective: Objective = Objective(),
        optimizer: Callable[[Iterable], Optimizer] = MuonAdamW,
        warmup: float = 0.1,
        queries: int | None = None,
        augment: bool = True,
        seconds: float | None = None,
        seed: int = 0,
    ):
        super().__init__(
            optimizer=optimizer,
            warmup=warmup,
            queries=queries,
            augment=augment,
            seconds=seconds,
            seed=seed,
        )
        self.dim, self.encoder, self.processor, self.decoder, self.skip = (
            dim,
            encoder,
            processor,
            decoder,
            skip,
        )
        self.propagator, self.objective = propagator, objective

    def compose(self, schema: Schema, normalizer: Normalizer) -> Operator:
        """Every part by keyword; the only place where they meet."""
        encoder, processor, decoder = (
            self.encoder(self.dim, schema),
            self.processor(self.dim),
            self.decoder(self.dim, schema),
        )
        if schema.dt is None:
            return FieldOperator(
                schema=schema,
                normalizer=normalizer,
                dim=self.dim,
                encoder=encoder,
                processor=processor,
                decoder=decoder,
                skip=self.skip(schema.dim) if self.skip is not None else None,
            )
        if self.skip is not None:
            raise ValueError(
                "A skip path looks at the given frames, which a model in time leaves behind. Set `skip: null`."
            )
        return EvolutionOperator(
            schema=schema,
            normalizer=normalizer,
            dim=self.dim,
            encoder=encoder,
            propagator=self.propagator(self.dim, processor),
            decoder=decoder,
        )

    def fit_decoder(self, data: FieldDataModule) -> None:
        """Gives the training outputs to a decoder that takes a part of itself from them."""
        model = self.model
        if isinstance(model, FieldOperator | EvolutionOperator) and isinstance(
            model.decoder, FittedDecoder
        ):
            every = collate([data.train[i] for i in range(len(data.train))])
            v, params = every.v.flatten(0, 1), every.params.repeat_interleave(every.v.shape[1], 0)
            model.decoder.fit(
                model.normalizer.points(every.y), model.normalizer.normalized(v, params)
            )

    def loss(self, batch: Sample, random: torch.Generator) -> Tensor:
        """The loss of static maps, or the objective in time."""
        if not isinstance(self.model, EvolutionOperator):
            return super().loss(batch, random)
        return self.objective(
            self.model, batch, progress=self.progress(), queries=self.queries, random=random
        )

    def flow_diagnostics(self, batch: Sample) -> dict[str, float]:
        """Energy, entropy, refused steps and step sizes of the flow, in double precision (see `Trace.summary`)."""
        model = cast(FieldOperator | EvolutionOperator, self.average)
        if not isinstance(model.processor, Stack):
            return {}
        latent, cond = model.encode(batch.x, batch.u, batch.x_mask, batch.params)
        return model.processor.trace(latent, cond).summary()


class BaselineTraining(Training):
    """Trains a complete model made by others under the same recipe.

    Args:
        operator: from schema and normalizer to the model.
        training: see :class:`Training`.
    """

    def __init__(self, operator: Callable[..., Operator], **training: Any):
        super().__init__(**training)
        self.operator = operator

    def compose(self, schema: Schema, normalizer: Normalizer) -> Operator:
        """The model as its authors compose it."""
        return self.operator(schema=schema, normalizer=normalizer)
