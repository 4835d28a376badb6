"""`benchmarks/between.py` and `benchmarks/sensors.py`: what they compare with is right, and their tables say it."""

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


def test_truth_between_frames_is_the_generators_and_the_order_is_the_methods(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(between, "FRAMES", (0.25, 1.0, 2.5))
    batch = between.truth(Heat, (0.25, 1.0, 2.5), 2, 16)
    (ds,) = Heat(part="test", frames=2).generate(samples=2, resolution=16)
    np.testing.assert_allclose(batch.v[:, 1, :, 0], ds.u.values[:, 1], atol=1e-6)
    np.testing.assert_allclose(batch.t[0] / Heat.interval, [0.25, 1.0, 2.5], rtol=1e-6)
    between.main(
        [
            f"heat={heat_flow(tmp_path / 'm.safetensors')}",
            "--samples",
            "2",
            "--out",
            str(tmp_path / "between.md"),
        ]
    )
    shown = capsys.readouterr().out
    assert (tmp_path / "between.md").read_text().count(
        "|"
    ) > 20 and "`ImplicitPortHamiltonianStep`" in shown
    orders = [
        float(word) for cell in shown.splitlines()[-1].split("|")[3:-1] for word in cell.split(",")
    ]
    assert len(orders) == 6 and max(abs(order - 1) for order in orders) < 0.15


def test_interpolation_follows_plates_in_space_and_splines_in_time():
    random = np.random.default_rng(0)
    places, times = random.random((200, 2)), np.linspace(0, 1, 6)
    x = np.array([[*place, t] for t in times for place in places])
    asked = np.array(
        [[*place, t] for t in (0.1, 0.5) for place in 0.2 + 0.6 * random.random((40, 2))]
    )

    def f(x: np.ndarray) -> np.ndarray:
        return np.stack([x @ [1.0, -2.0, 0.5] + 1, np.sin(2 * x[:, 0]) * x[:, 2] ** 3], axis=1)

    found = sensors.interpolated(x, f(x), asked, (False, False, False))
    np.testing.assert_allclose(found[:, 0], f(asked)[:, 0], atol=1e-9)
    np.testing.assert_allclose(found[:, 1], f(asked)[:, 1], atol=2e-3)


@pytest.mark.parametrize("closed", [True, False])
def test_interpolation_goes_around_periodic_axes(closed):
    x = np.random.default_rng(1).random((400, 2)) * [1, 1] - 0.5
    x = x[np.abs(x[:, 0]) < 0.45]  # a gap across the seam
    asked = np.array([[0.5, 0.0], [-0.5, 0.1]])

    def wave(x: np.ndarray) -> np.ndarray:
        return np.sin(2 * np.pi * x[:, :1])

    error = float(
        np.abs(sensors.interpolated(x, wave(x), asked, (closed, False)) - wave(asked)).max()
    )
    assert error < 0.05 if closed else error > 0.1
