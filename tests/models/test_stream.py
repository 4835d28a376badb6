"""Rollouts into a file equal those in memory; an interrupted one leaves no file."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from problems import travelling

import fields
from fields.flows.hamiltonian import Hamiltonian
from fields.inference.stream import stream
from fields.inference.targets import target_times
from fields.models.propagators import LatentFlow


@pytest.fixture
def model(make):
    return make(propagator=LatentFlow, processor=Hamiltonian(16, depth=1))[1]


@pytest.mark.parametrize(
    "at", [None, {"x": np.linspace(0, 0.9, 7)}, {"x": xr.DataArray([0.1, 0.2, 0.9], dims="place")}]
)
def test_a_streamed_file_equals_the_prediction(model, at, tmp_path, monkeypatch):
    times = np.arange(1, 12) * 0.25
    together = []
    decode = type(model).decode
    monkeypatch.setattr(
        type(model),
        "decode",
        lambda self, codes, *rest: together.append(len(codes)) or decode(self, codes, *rest),
    )
    ds = travelling()
    stream(model, ds, tmp_path / "long.h5", times=times, at=at, frames=4, batch_size=3)
    assert max(together) == 4 and len(together) == 2 * 3  # two batches, three chunks each
    written = fields.open_dataset(tmp_path / "long.h5")
    wanted = model.predict(ds, times=times, at=at)
    for name in wanted.data_vars:
        assert written[name].dims == wanted[name].dims and written[name].attrs == wanted[name].attrs
        np.testing.assert_allclose(written[name], wanted[name], atol=1e-5)
    for name in wanted.coords:
        np.testing.assert_array_equal(written[name], wanted[name])
    written.close()
    assert [file.name for file in tmp_path.iterdir()] == ["long.h5"]


def test_an_interrupted_stream_leaves_what_was_there(model, tmp_path, monkeypatch):
    path = tmp_path / "long.h5"
    path.write_text("earlier")
    decode = type(model).decode
    calls = []

    def interrupted(self, *given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return decode(self, *given)

    monkeypatch.setattr(type(model), "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stream(model, travelling(), path, times=np.arange(1, 40) * 0.25, frames=4)
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]


def test_times_of_long_rollouts_stay_exact(make):
    """In single precision two frames near the 40 000th would be off by 0.001 frames."""
    t = target_times(travelling(1), [1e4 + 0.1, 1e4 + 0.35], make()[1].schema)
    assert t.diff().item() == pytest.approx(0.25, abs=1e-9)
