"""An exported program computes what the model does, for any batch and any queries."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from problems import operator, travelling, waves

import fields
from fields.data import schema_of
from fields.data.normalizer import Normalizer
from fields.decoders.cross_attention import CrossAttention
from fields.encoders.cross_attention_encoder import CrossAttentionEncoder
from fields.encoders.windowed_moments import WindowedMoments
from fields.flows.graph_hamiltonian import GraphHamiltonian
from fields.flows.hamiltonian import Hamiltonian
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import Autoregressive, LatentFlow
from fields.processors.transformer import Transformer


def still(processor: type, encoder: type) -> tuple[fields.FieldOperator, object]:
    model = operator((True,), encoder=encoder)
    torch.manual_seed(1)
    model.processor = processor(32, depth=2)
    return model.eval(), waves(5, (32,), (True,))


def moving(processor: type, propagator: type) -> tuple[EvolutionOperator, object]:
    ds = travelling(5, 6, n=32)
    schema = schema_of(ds)
    dim = 16
    statistics = dict.fromkeys((*schema.inputs, *schema.outputs, *schema.params), (0.1, 1.3))
    torch.manual_seed(1)
    model = EvolutionOperator(
        schema=schema,
        normalizer=Normalizer(schema, statistics),
        dim=dim,
        encoder=WindowedMoments(dim, schema, tokens=(4,)),
        propagator=propagator(dim, processor(dim)),
        decoder=CrossAttention(dim, schema),
    )
    return model.eval(), ds


CASES = {
    "transformer": lambda: still(Transformer, CrossAttentionEncoder),
    "hamiltonian": lambda: still(Hamiltonian, WindowedMoments),
    "graph": lambda: still(GraphHamiltonian, CrossAttentionEncoder),
    "in time": lambda: moving(Transformer, Autoregressive),
    "graph in time": lambda: moving(GraphHamiltonian, LatentFlow),
}


@pytest.mark.filterwarnings("ignore")
# Tracing takes ten seconds a case; the example of docs/scaling.md is in the fast suite.
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_program_computes_what_the_model_does(case, tmp_path):
    model, ds = CASES[case]()
    evolves = model.schema.dt is not None
    times = [0.25, 0.75] if evolves else None
    fields.export(model, tmp_path / "model.pt2", ds, times=times)
    program = torch.export.load(tmp_path / "model.pt2").module()
    for samples, queries in ((1, 26), (5, 700), (2, 41)):
        part = ds.isel(sample=slice(0, samples))
        at = np.sort(np.random.default_rng(queries).uniform(0, 0.99, queries))
        wanted = model.predict(part, at={"x": at}, times=times)
        first = part.isel(time=0) if evolves else part
        u = np.stack([first[name].values for name in model.schema.inputs], -1)
        params = np.stack(
            [np.zeros(samples), *(part[name].values for name in model.schema.params)], -1
        )[:, 1:]
        got = program(
            *(torch.tensor(np.asarray(a), dtype=torch.float32) for a in (u, at[:, None], params))
        )
        assert got.shape == (samples, len(times or [0]), queries, len(model.schema.outputs))
        for o, name in enumerate(model.schema.outputs):
            truth = wanted[name].values.reshape(samples, -1, queries)
            np.testing.assert_allclose(got[..., o].numpy(), truth, atol=2e-5 * np.abs(truth).max())


def test_points_that_belong_to_a_sample_are_refused(tmp_path):
    model, ds = still(Transformer, CrossAttentionEncoder)
    moving_points = ds.rename(x="point").assign_coords(
        x=(("sample", "point"), np.tile(ds.x.values, (5, 1)))
    )
    with pytest.raises(fields.DataError, match="points of its own"):
        fields.export(model, tmp_path / "model.pt2", moving_points)


@pytest.mark.slow
def test_the_file_needs_no_fields(tmp_path):
    model, ds = CASES["transformer"]()
    fields.export(model, tmp_path / "model.pt2", ds)
    code = (
        "import sys, torch; p = torch.export.load('model.pt2').module();"
        "v = p(torch.ones(3, 32, 1), torch.rand(30, 1), torch.ones(3, 0));"
        "print(v.shape, 'fields' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["torch.Size([3,", "1,", "30,", "1])", "False"]
