"""Freed memory is used again instead of being returned and requested again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from fields.core.allocator import concatenate_into

STEPS = """
import resource, statistics, torch
from fields.baselines.trivial import MeanField
from fields.data.normalizer import Normalizer
from fields.core.sample import Schema
schema = Schema(coords=("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
MeanField(schema=schema, normalizer=Normalizer(schema, {"a": (0.0, 1.0), "u": (0.0, 1.0)}), count=4)
def step():
    x = torch.ones(2_000_000)
    return [x + i for i in range(5)]
for _ in range(3):
    step()
counts = []
for _ in range(11):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(statistics.median(counts))
"""


def faults() -> float:
    """Pages that a step of 48 MB touches anew: the median of 11 steps of a process of its own."""
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the thresholds are glibc's")
def test_a_process_with_a_model_keeps_freed_memory() -> None:
    assert faults() < 0.1 * 12_000, (
        "of 12 000 pages; without the model 3 000 to 12 000, by what importing left behind"
    )


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_chunks_copied_into_place_equal_their_concatenation(dim: int) -> None:
    whole = torch.randn(5, 7, 6)
    chunks = whole.split(2, dim=dim)
    assert torch.equal(concatenate_into(iter(chunks), whole.shape[dim], dim=dim), whole)
