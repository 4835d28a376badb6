"""Solvers stay on their device, shown without a GPU: `meta` tensors have shapes but no values."""

from __future__ import annotations

import sys

import pytest
import torch

import datasets.burgers
import datasets.ks
from datasets.__main__ import catalogue
from datasets.burgers import MODES, Burgers
from datasets.evolution import Evolution

EVOLUTIONS = {name: p for name, p in catalogue().items() if issubclass(p, Evolution)}


@pytest.fixture(autouse=True)
def single_steps(monkeypatch):
    monkeypatch.setattr(torch, "isfinite", lambda _: torch.tensor(True))
    monkeypatch.setattr(datasets.ks, "BURN_IN", 1)
    monkeypatch.setattr(datasets.burgers, "SMOOTH", ((0.1, 1), (1.0, 1)))
    for problem in EVOLUTIONS.values():
        if hasattr(sys.modules[problem.__module__], "STEPS"):
            monkeypatch.setattr(sys.modules[problem.__module__], "STEPS", 1)


def test_operations_across_devices_raise():
    with pytest.raises(RuntimeError, match="not on the expected device"):
        torch.ones(2, device="meta") + torch.ones(2)


@pytest.mark.parametrize("problem", [p() for p in EVOLUTIONS.values()], ids=list(EVOLUTIONS))
def test_trajectories_stay_on_the_device(problem):
    points = (48,) * len(problem.lengths)
    state, statics = problem.start(range(2), points, seed=0, device="meta")
    after = problem.stepper(points, statics, device="meta")(state)
    assert after.shape == state.shape and state.is_meta and after.is_meta
    laws = {**problem.conserved(), **problem.dissipated()}
    assert all(
        law(after, *(statics[name] for name in problem.statics)).is_meta for law in laws.values()
    )


def test_burgers_stays_on_the_device():
    a = Burgers().initial(range(2), seed=0).to("meta")
    assert Burgers().evolve(a[:, : MODES // 4 + 1], points=MODES // 2).is_meta
