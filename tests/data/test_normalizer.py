"""Every scaling maps as it states and back, is stored with the model, and refuses bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from problems import operator, waves
from safetensors import safe_open

import fields
from fields.core.sample import collate
from fields.data import FieldDataset, schema_of
from fields.data.normalizer import Normalizer
from fields.data.scaling import Log, MinMax, PerParameter, Standard
from fields.data.statistics import dataset_statistics
from fields.io import DataError

FOUR = {"a": MinMax(), "u": PerParameter("beta"), "beta": Log()}


def forced(samples: int = 12) -> xr.Dataset:
    """Inputs a, outputs proportional to a force β ∈ {0.01, 1, 100}."""
    ds = waves(samples, (6,), (True,))
    beta = np.array([0.01, 1.0, 100.0])[np.arange(samples) % 3]
    ds["u"] = (ds.u + 3) * xr.DataArray(beta, dims="sample").astype("f4")
    ds["u"].attrs["role"] = "output"
    ds["beta"] = ("sample", beta, {"role": "parameter"})
    return ds


def normalizer(ds: xr.Dataset, scalings) -> tuple[Normalizer, fields.Sample]:
    data = FieldDataset(ds, schema_of(ds))
    return Normalizer(data.schema, dataset_statistics(data, scalings)), collate(
        [data[i] for i in range(len(data))]
    )


def test_standard_is_the_default_and_has_mean_0_and_variance_1():
    maps, batch = normalizer(forced(), None)
    for values in (maps.inputs(batch.u), maps.normalized(batch.v[:, 0]), maps.params(batch.params)):
        assert abs(float(values.mean())) < 1e-5 and abs(float(values.std(correction=0)) - 1) < 1e-5
    names = {
        "inputs_mean",
        "inputs_std",
        "outputs_mean",
        "outputs_std",
        "params_mean",
        "params_std",
        "center",
        "extent",
    }
    assert set(maps.state_dict()) == names


def test_a_state_with_a_former_name_of_a_buffer_is_refused():
    """Only `fields.load` translates names of format 1; old and new ones never mix."""
    maps, _ = normalizer(forced(), None)
    state = maps.state_dict()
    old = {"centre" if name == "center" else name: value for name, value in state.items()}
    for mixed in (old, state | old):
        with pytest.raises(RuntimeError, match=r'Unexpected key.*"centre"'):
            maps.load_state_dict(mixed)


def test_each_scaling_brings_its_variable_to_order_one():
    maps, batch = normalizer(forced(), FOUR)
    u = maps.inputs(batch.u, batch.params)
    assert float(u.min()) == pytest.approx(-1, abs=1e-6) and float(u.max()) == pytest.approx(
        1, abs=1e-6
    )
    p = maps.params(batch.params)[:, 0]
    assert sorted({round(float(x), 4) for x in p}) == pytest.approx(
        [-1.2247, 0, 1.2247], abs=1e-3
    )  # evenly spaced decades
    v = maps.normalized(batch.v[:, 0], batch.params)
    for value in (0.01, 1.0, 100.0):
        part = v[batch.params[:, 0] == np.float32(value)]
        assert abs(float(part.mean())) < 1e-4 and abs(float(part.std(correction=0)) - 1) < 1e-4
    between = maps.physical(torch.zeros(1, 2, 1), torch.tensor([[50.5]]))
    ends = [
        float(maps.physical(torch.zeros(1, 1, 1), torch.tensor([[value]])))
        for value in (1.0, 100.0)
    ]
    assert float(between[0, 0, 0]) == pytest.approx(sum(ends) / 2, rel=1e-5)
    beyond = maps.physical(torch.zeros(1, 1, 1), torch.tensor([[1e4]]))
    assert float(beyond) == pytest.approx(ends[1])  # no extrapolation


@pytest.mark.parametrize(
    "scaling", [Standard(), MinMax(), Log(), PerParameter("beta")], ids=lambda s: type(s).__name__
)
def test_physical_undoes_normalized(scaling):
    maps, batch = normalizer(forced(), {"u": scaling})
    back = maps.physical(maps.normalized(batch.v, batch.params), batch.params)
    torch.testing.assert_close(back, batch.v, rtol=1e-4, atol=1e-5 * float(batch.v.std()))


def test_log_is_finite_below_the_training_values_and_in_padding():
    maps, batch = normalizer(forced(), {"u": Log(), "beta": Log()})
    assert (
        torch.isfinite(maps.params(torch.zeros(2, 1))).all()
        and torch.isfinite(maps.normalized(-batch.v)).all()
    )
    with pytest.raises(ValueError, match=r"'a' has the value -.*no logarithm"):
        normalizer(forced(), {"a": Log()})


def test_a_parameter_that_a_scaling_depends_on_must_exist_and_be_given():
    with pytest.raises(DataError, match="cannot be scaled by 'nu'"):
        normalizer(forced(), {"u": PerParameter("nu")})
    maps, batch = normalizer(forced(), FOUR)
    with pytest.raises(ValueError, match="pass `params`"):
        maps.physical(batch.v)


def test_a_checkpoint_holds_every_kind_of_scaling(tmp_path):
    ds = forced()
    data = FieldDataset(ds, schema_of(ds))
    model = operator((True,), skip=True)
    again = fields.FieldOperator(
        schema=data.schema,
        normalizer=Normalizer(data.schema, dataset_statistics(data, FOUR)),
        dim=32,
        encoder=model.encoder,
        processor=model.processor,
        decoder=model.decoder,
        skip=model.skip,
    ).eval()
    fields.save(again, tmp_path / "m.safetensors")
    loaded = fields.load(tmp_path / "m.safetensors")
    assert {"normalizer.params_floor", "normalizer.outputs_knots"} <= set(loaded.state_dict())
    np.testing.assert_array_equal(loaded.predict(ds).u, again.predict(ds).u)
    spread = again.predict(ds).u.std("x").values
    assert spread[2] > 100 * spread[0]  # the scale follows β


def test_scalings_can_be_configured(tmp_path):
    from jsonargparse import ArgumentParser

    from fields.data.datamodule import FieldDataModule

    fields.write_dataset(forced(), tmp_path / "a.nc")
    parser = ArgumentParser()
    parser.add_class_arguments(FieldDataModule, "data")
    chosen = {"beta": {"class_path": "fields.data.scaling.Log"}}
    chosen |= {"u": {"class_path": "fields.data.scaling.PerParameter", "init_args": {"by": "beta"}}}
    options = parser.parse_object({"data": {"path": str(tmp_path / "a.nc"), "scalings": chosen}})
    data = parser.instantiate(options).data
    data.setup()
    assert (
        isinstance(data.statistics["beta"].scaling, Log) and len(data.statistics["u"].groups) == 3
    )
    assert "outputs_knots" in Normalizer(data.schema, data.statistics).state_dict()


def test_shipped_models_load():
    shipped = sorted((Path(fields.__file__).parent / "pretrained").glob("*.safetensors"))
    assert shipped
    for path in shipped:
        model = fields.load(path)
        with safe_open(path, "pt") as file:
            assert "normalizer.center" in file.keys()  # noqa: SIM118
            for key in file.keys():  # noqa: SIM118
                if key.startswith("normalizer."):
                    torch.testing.assert_close(
                        model.state_dict()[key], file.get_tensor(key), rtol=0, atol=0
                    )
