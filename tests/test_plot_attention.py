"""The drawn basis functions of a decoder are the weights that it computes."""

import numpy as np
import pytest
import torch
import xarray as xr

from fields.core.sample import Schema
from fields.data.normalizer import Normalizer
from fields.decoders.cross_attention import CrossAttention
from fields.encoders.cross_attention_encoder import CrossAttentionEncoder
from fields.models.static import FieldOperator
from fields.plot import attention_basis
from fields.plot.attention import basis_data, hat_functions
from fields.processors.transformer import Transformer


def model_and_data(d):
    coords = ("x", "y")[:d]
    schema = Schema(
        coords=coords,
        inputs=("a",),
        outputs=("u",),
        periodic=(False, True)[:d],
        bounds=((0.0, 1.0),) * d,
        homogeneous=(False,) * d,
    )
    parts = {
        "encoder": CrossAttentionEncoder(16, schema, tokens=(4,) * d),
        "processor": Transformer(16, depth=1),
    }
    model = FieldOperator(
        schema=schema,
        normalizer=Normalizer(schema, {"a": (0.0, 1.0), "u": (0.0, 1.0)}),
        dim=16,
        decoder=CrossAttention(16, schema),
        **parts,
    )
    axes = {name: np.linspace(0, 1, 9)[:-1] for name in coords}
    values = np.random.default_rng(0).normal(size=(2, *(8,) * d))
    return model, xr.Dataset({"a": (("sample", *coords), values)}, coords=axes)


@pytest.mark.parametrize("d", [1, 2])
def test_basis_functions_entropy_and_number_of_tokens(d):
    model, ds = model_and_data(d)
    basis = basis_data(model, ds, points=12)
    assert basis.weights.shape == (4, 12**d, 4**d) and basis.hats.shape == (12**d, 4**d)
    for weights in (*basis.weights, basis.hats):
        assert np.abs(weights.sum(-1) - 1).max() < 1e-5 and weights.min() >= 0
    expected = np.exp(-(basis.weights * np.log(basis.weights + 1e-30)).sum(-1)).mean(0)
    assert np.abs(basis.tokens - expected).max() < 1e-3
    assert (
        np.abs(basis.entropy - -(basis.weights * np.log(basis.weights + 1e-30)).sum(-1)).max()
        < 1e-3
    )
    assert len(basis.free_energy) == 3
    titles = [
        a.get_title(loc="left") + a.get_title() for a in attention_basis(model, ds, points=12).axes
    ]
    for part in (
        "hat",
        "learned, first head",
        "learned, mean of heads",
        "entropy",
        "effective number of tokens",
        "free energy",
    ):
        assert any(part in title for title in titles), part


def test_a_decoder_without_attention_to_all_tokens_has_no_basis():
    model, ds = model_and_data(1)
    model.decoder = CrossAttention(16, model.schema, nearest=2)
    with pytest.raises(ValueError, match="without `nearest`"):
        basis_data(model, ds, points=12)


def test_hat_functions_are_one_at_their_node_and_reproduce_linear_functions():
    nodes = ((torch.arange(5).double() + 0.5) / 5 - 0.5)[:, None]
    assert (hat_functions(nodes, nodes, (False,)) - torch.eye(5)).abs().max() < 1e-12
    x = torch.linspace(-0.4, 0.4, 33, dtype=torch.float64)[:, None]
    assert (hat_functions(x, nodes, (False,)) @ nodes - x).abs().max() < 1e-12
    with pytest.raises(ValueError, match="tokens on a regular grid"):
        hat_functions(torch.rand(3, 2), torch.rand(5, 2), (False, False))
