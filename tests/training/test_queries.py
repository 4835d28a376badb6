"""The benchmark of query points: chunks give the whole field, and operations are counted."""

from __future__ import annotations

import pytest
import torch

from benchmarks import queries


@pytest.mark.parametrize("name", ["MLP", "cross_attention", "nearest"])
def test_chunks_give_the_whole_and_operations_are_counted(name):
    f = queries.model(name, 32, 4)
    points = torch.rand(1, 300, 2) - 0.5
    whole = queries.decode(f, points, 300)
    assert whole.shape == (1, 300, 1) and whole.std() > 1e-5
    torch.testing.assert_close(queries.decode(f, points, 64), whole, atol=1e-5, rtol=0)
    if name == "MLP":  # features to width, five times width to width, width to one
        assert queries.operations(f) == 2 * (32 * 32 + 5 * 32 * 32 + 32)
    if name == "cross_attention":
        # The fused embedding, query, bias and norm; the output map; the MLP; the head.
        maps = 33 * (64 + 32) + 32 * 32 + 2 * 32 * 64 + 32 * 32 + 32
        # Six columns, scores and values of 16 tokens in four heads.
        attention = 4 * 16 * (6 + 8 + 8)
        assert queries.operations(f) == 2 * (maps + attention)


def test_the_mlp_has_the_linear_maps_that_a_query_passes_through():
    """Embedding, query, output, the block's MLP and the head: both have the same depth."""
    decoder = queries.CrossAttention(32, queries.SCHEMA)
    block = decoder.blocks[0]
    maps = [
        decoder.position.mix,
        block.attention.query,
        block.attention.out,
        *block.mlp.layers[::2],
        *decoder.head.layers[::2],
    ]
    assert all(isinstance(layer, torch.nn.Linear) for layer in maps)
    layers = queries.model("MLP", 32, 4).layers
    assert len(maps) == sum(isinstance(layer, torch.nn.Linear) for layer in layers)
