"""An untrained model of a small evolution problem."""

from __future__ import annotations

import pytest
import torch
from problems import travelling

from fields.core.sample import Sample, collate
from fields.data import FieldDataset, schema_of
from fields.data.normalizer import Normalizer
from fields.data.statistics import dataset_statistics
from fields.decoders.cross_attention import CrossAttention
from fields.encoders.windowed_moments import WindowedMoments
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import Autoregressive, Propagator
from fields.processors.base import Processor
from fields.processors.transformer import Transformer


@pytest.fixture
def make():
    """history -> dataset and model, with any propagator and processor."""

    def build(
        *,
        history: int = 1,
        horizon: int = 4,
        propagator: type[Propagator] = Autoregressive,
        processor: Processor | None = None,
    ) -> tuple[FieldDataset, EvolutionOperator]:
        ds = travelling()
        data = FieldDataset(ds, schema_of(ds, history=history), horizon=horizon)
        torch.manual_seed(0)
        dim = 16
        model = EvolutionOperator(
            schema=data.schema,
            normalizer=Normalizer(data.schema, dataset_statistics(data)),
            dim=dim,
            encoder=WindowedMoments(dim, data.schema, tokens=(4,)),
            propagator=propagator(dim, processor or Transformer(dim, depth=1)),
            decoder=CrossAttention(dim, data.schema),
        )
        return data, model.eval()

    return build


@pytest.fixture
def batch_of():
    """The first samples of a dataset as a batch."""

    def build(data: FieldDataset, count: int = 3) -> Sample:
        return collate([data[i] for i in range(count)])

    return build
