"""The benchmark of many queries: the whole field, in memory that does not grow with the number of points."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import queries


@pytest.mark.parametrize("name", ["MLP", "cross_attention", "nearest"])
def test_chunks_are_the_whole_and_operations_are_counted(name):
    f, points = queries.model(name, 32, 4), torch.rand(1, 300, 2) - 0.5
    whole = queries.decode(f, points, 300)
    assert whole.shape == (1, 300, 1) and whole.std() > 1e-5
    torch.testing.assert_close(queries.decode(f, points, 64), whole, atol=1e-5, rtol=0)
    if name == "MLP":  # features to width, three times width to width, width to one
        assert queries.operations(f) == 2 * (32 * 32 + 3 * 32 * 32 + 32)
    else:
        assert queries.operations(f) > 2 * 8 * 32 * 32
