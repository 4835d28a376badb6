"""Predictions drawn from dropout and ensembles, and their mean and quantiles in `predict`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import operator, travelling, waves

import fields
from fields.core.sample import collate
from fields.data import FieldDataset, schema_of
from fields.data.normalizer import Normalizer
from fields.data.statistics import dataset_statistics
from fields.decoders.cross_attention import CrossAttention
from fields.encoders.windowed_moments import WindowedMoments
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import Autoregressive
from fields.nn.dropout import NeuronDropout
from fields.processors.transformer import Transformer


@pytest.fixture
def thin():
    ds = travelling()
    data = FieldDataset(ds, schema_of(ds), horizon=4)
    torch.manual_seed(0)
    model = EvolutionOperator(
        schema=data.schema,
        normalizer=Normalizer(data.schema, dataset_statistics(data)),
        dim=16,
        encoder=WindowedMoments(16, data.schema, tokens=(4,)),
        propagator=Autoregressive(16, Transformer(16, depth=1, dropout=0.3)),
        decoder=CrossAttention(16, data.schema),
    )
    return model.eval(), collate([data[0], data[data.windows.max_per_sample]]), ds


def test_draws_differ_but_keep_their_mask_through_a_rollout(thin):
    model, batch, _ = thin
    masks: list[set[bytes]] = []
    layer = next(m for m in model.modules() if isinstance(m, NeuronDropout))
    layer.register_forward_hook(
        lambda _, args, out: masks[-1].add((out != 0).any(0).any(0).numpy().tobytes())
    )
    answers = []
    source = model.sample(batch, 3, seed=1)
    for _ in range(3):
        masks.append(set())
        with torch.no_grad():
            answers.append(next(source))
    assert [len(one) for one in masks] == [1, 1, 1] and len(set.union(*masks)) == 3
    assert (answers[0] - answers[1]).abs().max() > 1e-4
    assert not layer.training and layer.held is None
    with torch.no_grad():
        again = next(model.sample(batch, 1, seed=1))
    torch.testing.assert_close(again, answers[0], rtol=0, atol=0)


def test_predicting_with_samples_gives_mean_and_quantiles(thin):
    model, batch, ds = thin
    out = model.predict(ds, samples=8, quantiles=(0.05, 0.5, 0.975))
    assert set(out.data_vars) == {
        f"{name}{suffix}" for name in "uw" for suffix in ("", "_q05", "_q50", "_q97.5")
    }
    assert bool((out.u_q05 <= out.u_q50).all()) and bool((out.u_q50 <= out["u_q97.5"]).all())
    assert float((out["u_q97.5"] - out.u_q05).mean()) > 1e-3
    with torch.no_grad():
        mean = torch.stack(list(model.sample(batch, 8))).mean(0)
    np.testing.assert_allclose(out.u[:2].values.reshape(2, 7, -1)[:, :4], mean[..., 0], atol=1e-5)


def test_an_ensemble_predicts_its_mean_and_is_saved_in_one_file(tmp_path):
    members = [operator((True,), seed=seed) for seed in range(3)]
    model = fields.Ensemble(members)
    ds = waves(2, (8,), (True,))
    each = np.stack([member.predict(ds).u for member in members])
    out = model.predict(ds, samples=3, quantiles=(0.5,))
    np.testing.assert_allclose(out.u, each.mean(0), atol=1e-5)
    np.testing.assert_allclose(out.u_q50, np.median(each, 0), atol=1e-5)
    fields.save(model, tmp_path / "e.safetensors")
    np.testing.assert_allclose(
        fields.load(tmp_path / "e.safetensors").predict(ds).u, each.mean(0), atol=1e-5
    )


def test_models_that_cannot_draw_are_refused():
    ds = waves(2, (8,), (True,))
    with pytest.raises(ValueError, match="no dropout to draw from"):
        operator((True,)).predict(ds, samples=4)
    with pytest.raises(ValueError, match="has 1 members and cannot give 2"):
        fields.Ensemble([operator((True,))]).predict(ds, samples=2)
    with pytest.raises(ValueError, match="schemas differ"):
        fields.Ensemble([operator((True,)), operator((False,))])
