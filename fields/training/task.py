"""The trainings: of a conditional neural field made of components, and of a complete baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from fields.core.sample import Sample, Schema, collate
from fields.data.datamodule import FieldDataModule
from fields.data.normalizer import Normalizer
from fields.decoders.base import Decoder, FittedDecoder
from fields.decoders.cross_attention import CrossAttention
from fields.encoders.base import Encoder
from fields.encoders.windowed_moments import WindowedMoments
from fields.models.base import Operator
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import Autoregressive, Propagator
from fields.models.static import FieldOperator
from fields.nn.skip import SkipMoments
from fields.processors.base import Processor
from fields.processors.stack import Stack
from fields.processors.transformer import Transformer
from fields.training.base import Training
from fields.training.objective import Objective
from fields.training.optim import MuonAdamW


class FieldTraining(Training):
    """The model: encoder, processor, decoder, skip path, and how they are trained.

    Args:
        dim: token width h of all components.
        encoder: turns the input into tokens; called with (dim, schema).
        processor: transforms the tokens; called with dim.
        decoder: evaluates the tokens at the query points; called with (dim, schema).
        skip: features of the input around each query point, for static maps; called with the
            number of axes; None for no skip path.
        propagator: moves the latent state in time, for evolution problems; called with
            (dim, processor).
        objective: terms of the loss of evolution problems.
        optimizer: of all parameters.
        warmup: share of the run with rising learning rate.
        queries: number of random query points per step; None for all.
        augment: move the points by a random symmetry of the problem, if the file declares any.
        seconds: wall time at which the schedule ends; None for no limit.
        weights: by name of an output, how much its error counts in the loss and in the validation
            error; 1 for the others.
        seed: of the weights, the random queries and symmetries.

    Example:
        >>> task = FieldTraining(dim=32, queries=256)
        >>> task.dim, task.queries, task.model  # composed when the data are known
        (32, 256, None)
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
        weights: dict[str, float] | None = None,
        seed: int = 0,
    ):
        super().__init__(
            optimizer=optimizer,
            warmup=warmup,
            queries=queries,
            augment=augment,
            seconds=seconds,
            weights=weights,
            seed=seed,
        )
        if dim < 1:
            raise ValueError(f"`model.dim` is {dim}, but the token width must be at least 1.")
        self.dim = dim
        self.encoder = encoder
        self.processor = processor
        self.decoder = decoder
        self.skip = skip
        self.propagator = propagator
        self.objective = objective

    def compose(self, schema: Schema, normalizer: Normalizer) -> Operator:
        """Build the components, then the model of them; nothing else builds models from settings.

        Raises:
            ValueError: a skip path for an evolution problem.
        """
        encoder = self.encoder(self.dim, schema)
        processor = self.processor(self.dim)
        skip = self.skip(schema.dim) if self.skip is not None and schema.dt is None else None
        # The decoder's number of skip features follows from the number of coordinates.
        derived = {} if skip is None else {"skip_features": skip.features}
        decoder = self.decoder(self.dim, schema, **derived)
        if schema.dt is None:
            return FieldOperator(
                schema=schema,
                normalizer=normalizer,
                dim=self.dim,
                encoder=encoder,
                processor=processor,
                decoder=decoder,
                skip=skip,
            )
        if self.skip is not None:
            raise ValueError(
                "A skip path reads the given frames around each query point, but an evolution "
                "model predicts later times. Set `skip: null`."
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
        """Give the normalized training outputs to a decoder that is fitted to them."""
        model = self.model
        if not isinstance(model, FieldOperator | EvolutionOperator):
            return
        if not isinstance(model.decoder, FittedDecoder):
            return
        every = collate([data.train[i] for i in range(len(data.train))])
        v = every.v.flatten(0, 1)
        params = every.params.repeat_interleave(every.v.shape[1], 0)
        points = model.normalizer.points(every.y)
        normalized = model.normalizer.normalized(v, params)
        real = every.y_mask.repeat_interleave(len(v) // len(every.y_mask), 0)[..., None]
        model.decoder.fit(points, torch.where(real, normalized, 0.0))

    def loss(self, batch: Sample, random: torch.Generator) -> Float[Tensor, ""]:
        """Mean relative L2 error of a static map, or the objective of an evolution problem."""
        if not isinstance(self.model, EvolutionOperator):
            return super().loss(batch, random)
        return self.objective(
            self.model,
            batch,
            error=self.error,
            progress=self.progress(),
            queries=self.queries,
            random=random,
        )

    def flow_diagnostics(self, batch: Sample) -> dict[str, float]:
        """Energy, entropy, rejected steps and step sizes of the flow, in double precision.

        See :meth:`fields.processors.trace.FlowTrace.summary`. Empty for processors without a flow.
        """
        model = cast(FieldOperator | EvolutionOperator, self.average)
        if not isinstance(model.processor, Stack):
            return {}
        latent, cond = model.encode(batch.x, batch.u, batch.x_mask, batch.params)
        return model.processor.trace(latent, cond).summary()


class BaselineTraining(Training):
    """Train a complete model, such as one of :mod:`fields.baselines`, by the same recipe.

    Args:
        operator: from schema and normalizer to the model.
        training: see :class:`~fields.training.base.Training`.

    Example:
        >>> from fields.baselines.unet import UNet
        >>> BaselineTraining(UNet, seconds=60).seconds
        60
    """

    def __init__(self, operator: Callable[..., Operator], **training: Any):
        super().__init__(**training)
        self.operator = operator

    def compose(self, schema: Schema, normalizer: Normalizer) -> Operator:
        """Build the model as its class defines it."""
        return self.operator(schema=schema, normalizer=normalizer)
