"""Sizes that follow from the data are derived, so that one file of settings fits any dimension."""

from functools import partial

import pytest
import torch

from fields.data.normalizer import Normalizer
from fields.data.schema import Schema
from fields.decoders import CrossAttention
from fields.encoders import WindowedMoments
from fields.nn.skip import SkipMoments
from fields.training.task import FieldTraining


@pytest.mark.parametrize("axes", ["x", "xy", "xyz"])
def test_the_skip_features_follow_from_the_coordinates(axes):
    bounds = ((0.0, 1.0),) * len(axes)
    schema = Schema(tuple(axes), inputs=("a",), outputs=("u",), bounds=bounds)
    task = FieldTraining(
        dim=16,
        encoder=partial(WindowedMoments, tokens=(4,) * len(axes)),
        decoder=partial(CrossAttention, skip_features=6),  # right for one coordinate
        skip=partial(SkipMoments, lengths=(0.1, 0.2, 0.3)),
    )
    model = task.compose(schema, Normalizer(schema, {"a": (0.0, 1.0), "u": (0.0, 1.0)}))
    points = torch.cartesian_prod(*[torch.arange(8) / 8 - 0.5] * len(axes)).reshape(-1, len(axes))
    x, u = points[None], torch.randn(2, len(points), 1)
    mask = torch.ones(1, len(points), dtype=torch.bool)
    latent, cond = model.encode(x, u, mask, torch.zeros(2, 0))
    y = torch.rand(1, 5, len(axes)) - 0.5
    out = model.decode(latent, x, u, mask, y, cond, torch.zeros(2, 0))
    assert out.shape == (2, 5, 1)
