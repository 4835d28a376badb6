"""Models in time: rollouts in chunks, later inputs, refusals, files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import travelling

import fields
from fields.baselines.trivial import Persistence
from fields.flows.hamiltonian import Hamiltonian
from fields.io import DataError
from fields.models.evolution import advance_input, input_windows
from fields.models.propagators import LatentFlow, TimeConditioned


def test_rollouts_in_chunks_of_times_and_queries_equal_the_whole(make, batch_of):
    data, model = make()
    batch = batch_of(data)
    with torch.no_grad():
        whole = model(batch)
        chunks = torch.cat(list(model.rollout(batch, frames=3)), dim=1)
        tight = model.evaluate(batch, memory=3 * model.decode_bytes(batch))
    assert whole.shape == batch.v.shape
    torch.testing.assert_close(chunks, whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(tight, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("history", [1, 2, 3])
def test_later_inputs_are_those_the_data_would_give(make, batch_of, history):
    """Histories with a static input equal the later windows of the dataset."""
    data, _ = make(history=history, horizon=3)
    batch = batch_of(data, 1)
    later = input_windows(batch.u, batch.v, data.schema)
    for s in range(3):
        if s + 1 < data.windows.max_per_sample:
            torch.testing.assert_close(later[0, s], data[s + 1].u, rtol=0, atol=0)
    torch.testing.assert_close(
        advance_input(batch.u, batch.v, data.schema), later[:, -1], rtol=0, atol=0
    )


def test_encoding_own_predictions_warns_and_restarts(make, batch_of):
    data, model = make()
    batch = batch_of(data)
    with torch.no_grad(), pytest.warns(UserWarning, match="invariants of the flow do not hold"):
        out = torch.cat(list(model.rollout(batch, frames=2, reencode=True)), dim=1)
    with torch.no_grad():
        free = model(batch)
        again = batch._replace(u=advance_input(batch.u, free[:, :2], data.schema), t=batch.t[:, :2])
        second = model(again)
    torch.testing.assert_close(out[:, :2], free[:, :2])
    torch.testing.assert_close(out[:, 2:], second, rtol=1e-4, atol=1e-5)


def test_times_that_descend_or_differ_in_a_batch_are_refused(make, batch_of):
    data, model = make()
    batch = batch_of(data)
    with pytest.raises(ValueError, match="do not ascend"):
        model(batch._replace(t=batch.t.flip(1)))
    with pytest.raises(ValueError, match="different times"):
        model(batch._replace(t=batch.t * torch.tensor([[1.0], [2.0], [1.0]])))


def test_prediction_at_any_time_and_place(make, tmp_path):
    _, model = make(propagator=LatentFlow, processor=Hamiltonian(16, depth=1))
    fields.save(model, tmp_path / "m.safetensors")
    loaded = fields.load(tmp_path / "m.safetensors")
    ds = travelling()
    stored = loaded.predict(ds)
    assert stored.u.dims == ("sample", "time", "x") and stored.sizes["time"] == 7
    np.testing.assert_allclose(stored.time, ds.time[1:], rtol=1e-6)
    points = {"x": np.array([0.01, 0.77])}
    asked = loaded.predict(ds, at=points, times=[0.1, 0.25, 3.0])
    assert asked.w.shape == (4, 3, 2) and asked.time.attrs["units"] == "s"
    np.testing.assert_allclose(asked.time, [0.1, 0.25, 3.0], rtol=1e-6)
    one = loaded.predict(ds.isel(time=slice(0, 1)), times=[0.25])
    np.testing.assert_allclose(one.u[:, 0], stored.u[:, 0], atol=1e-5)
    # A state without a time axis is predicted one frame later.
    bare = loaded.predict(ds.isel(time=0, drop=True))
    np.testing.assert_allclose(bare.u[:, 0], stored.u[:, 0], atol=1e-5)


def test_times_for_prediction_are_checked(make):
    _, model = make(propagator=TimeConditioned)
    with pytest.raises(DataError, match="ascend"):
        model.predict(travelling(), times=[0.5, 0.25])
    with pytest.raises(DataError, match="hold 1 frames, but the model takes 2"):
        make(history=2)[1].predict(travelling().isel(time=slice(0, 1)), times=[0.5])


def test_persistence_answers_at_every_time(make, batch_of):
    data, model = make()
    batch = batch_of(data)
    still = Persistence(schema=model.schema, normalizer=model.normalizer)(batch)
    assert still.shape == batch.v.shape
    torch.testing.assert_close(still[:, 2], batch.u[..., :2])
