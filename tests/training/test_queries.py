"""The benchmark of many queries: the whole field, in memory that does not grow with the number of points."""

from __future__ import annotations

import pytest
import torch

from benchmarks import queries


@pytest.mark.parametrize("name", ["MLP", "cross_attention", "nearest"])
def test_chunks_are_the_whole_and_operations_are_counted(name):
    f, points = queries.model(name, 32, 4), torch.rand(1, 300, 2) - 0.5
    whole = queries.decode(f, points, 300)
    assert whole.shape == (1, 300, 1) and whole.std() > 1e-5
    torch.testing.assert_close(queries.decode(f, points, 64), whole, atol=1e-5, rtol=0)
    if name == "MLP":  # features to width, five times width to width, width to one
        assert queries.operations(f) == 2 * (32 * 32 + 5 * 32 * 32 + 32)
    if (
        name == "cross_attention"
    ):  # embedding, query, bias, norm at once, output, MLP, head; 6 columns, scores, values of 16 tokens
        assert queries.operations(f) == 2 * (
            33 * (64 + 32) + 32 * 32 + 2 * 32 * 64 + 32 * 32 + 32
        ) + 2 * 4 * 16 * (6 + 8 + 8)


def test_the_mlp_has_the_linear_maps_that_a_query_passes():
    """Embedding, query, output, the block's MLP and the head: the comparison is between equals in depth."""
    decoder = queries.CrossAttention(32, queries.SCHEMA)
    block = decoder.blocks[0]
    passed = [
        decoder.position.mix,
        block.attention.query,
        block.attention.out,
        *block.mlp.layers[::2],
        *decoder.head.layers[::2],
    ]
    assert all(isinstance(part, torch.nn.Linear) for part in passed)
    assert len(passed) == sum(
        isinstance(part, torch.nn.Linear) for part in queries.model("MLP", 32, 4).layers
    )
