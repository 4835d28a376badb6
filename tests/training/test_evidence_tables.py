"""`benchmarks/between.py` and `benchmarks/sensors.py`: references, interpolation and tables."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import fields
from benchmarks import between, sensors
from datasets.heat import Heat
from fields import decoders, encoders
from fields.data import FieldDataset, schema_of
from fields.data.normalizer import Normalizer
from fields.data.statistics import dataset_statistics
from fields.flows.stencil_port_hamiltonian import (
    ImplicitPortHamiltonianStep,
    StencilPortHamiltonianField,
)
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import LatentFlow
from fields.processors.flow import Flow


def heat_flow(path: Path) -> Path:
    (ds,) = Heat(frames=3).generate(samples=2, resolution=16)
    data = FieldDataset(ds, schema_of(ds), horizon=2)
    torch.manual_seed(0)
    field = partial(StencilPortHamiltonianField, tokens=(16,), patterns=4)
    processor = Flow(1, field=field, integrator=ImplicitPortHamiltonianStep, steps=2, h=0.5)
    model = EvolutionOperator(
        schema=data.schema,
        normalizer=Normalizer(data.schema, dataset_statistics(data)),
        dim=1,
        encoder=encoders.FourierSampling(1, data.schema, tokens=(16,)),
        propagator=LatentFlow(1, processor),
        decoder=decoders.FourierInterpolation(1, data.schema, tokens=(16,)),
    )
    fields.save(model, path, card={})
    return path


def test_observed_orders_between_frames_are_those_of_the_method(tmp_path, monkeypatch, capsys):
    frames = (0.25, 1.0, 2.5)
    monkeypatch.setattr(between, "FRAMES", frames)
    batch = between.truth(Heat, frames, 2, 16)
    (ds,) = Heat(part="test", frames=2).generate(samples=2, resolution=16)
    np.testing.assert_allclose(batch.v[:, 1, :, 0], ds.u.values[:, 1], atol=1e-6)
    np.testing.assert_allclose(batch.t[0] / Heat.interval, frames, rtol=1e-6)
    model = heat_flow(tmp_path / "m.safetensors")
    out = tmp_path / "between.md"
    between.main([f"heat={model}", "--samples", "2", "--out", str(out)])
    shown = capsys.readouterr().out
    assert out.read_text().count("|") > 20 and "`ImplicitPortHamiltonianStep`" in shown
    columns = shown.splitlines()[-1].split("|")[3:-1]
    orders = [float(word) for column in columns for word in column.split(",")]
    assert len(orders) == 6 and max(abs(order - 1) for order in orders) < 0.15


def test_interpolation_is_exact_for_linear_functions_and_close_for_smooth_ones():
    random = np.random.default_rng(0)
    places = random.random((200, 2))
    x = np.array([[*place, t] for t in np.linspace(0, 1, 6) for place in places])
    inner = 0.2 + 0.6 * random.random((40, 2))
    y = np.array([[*place, t] for t in (0.1, 0.5) for place in inner])

    def f(x: np.ndarray) -> np.ndarray:
        return np.stack([x @ [1.0, -2.0, 0.5] + 1, np.sin(2 * x[:, 0]) * x[:, 2] ** 3], axis=1)

    found = sensors.interpolated(x, f(x), y, (False, False, False))
    np.testing.assert_allclose(found[:, 0], f(y)[:, 0], atol=1e-9)
    np.testing.assert_allclose(found[:, 1], f(y)[:, 1], atol=2e-3)


@pytest.mark.parametrize("periodic", [True, False])
def test_interpolation_wraps_around_periodic_axes(periodic):
    x = np.random.default_rng(1).random((400, 2)) * [1, 1] - 0.5
    x = x[np.abs(x[:, 0]) < 0.45]  # a gap around the boundary
    y = np.array([[0.5, 0.0], [-0.5, 0.1]])

    def wave(x: np.ndarray) -> np.ndarray:
        return np.sin(2 * np.pi * x[:, :1])

    found = sensors.interpolated(x, wave(x), y, (periodic, False))
    error = float(np.abs(found - wave(y)).max())
    assert error < 0.05 if periodic else error > 0.1
