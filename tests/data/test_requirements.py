"""What a model cannot use is refused before anything is read, with a sentence that says why."""

import numpy as np
import pytest
import torch
import xarray as xr

import fields
from fields.data import FieldDataset, dataset_statistics, schema_of
from fields.data.datamodule import FieldDataModule
from fields.data.normalizer import Normalizer
from fields.data.times import check_times, with_numeric_times
from fields.io import DataError, split_complex
from fields.training.task import FieldTraining

X = np.linspace(0, 1, 9)
Y = np.linspace(0, 2, 7)


def values(*shape):
    return np.random.default_rng(0).normal(size=shape)


def static(**more):
    """Input a and output u over (x, y), with variables replaced or added: name -> (dims, role)."""
    sizes = {"sample": 6, "time": 4, "x": 9, "y": 7, "x_u": 10, "k": 3}
    given = {"a": (("sample", "x", "y"), "input"), "u": (("sample", "x", "y"), "output")} | more
    variables = {
        name: (dims, values(*(sizes[dim] for dim in dims)), {"role": role})
        for name, (dims, role) in given.items()
        if role
    }
    return xr.Dataset(variables, coords={"x": X, "y": Y, "time": np.arange(4.0)})


def model_for(ds):
    """An untrained model of the problem of a dataset."""
    torch.manual_seed(0)
    schema = schema_of(ds)
    normalizer = Normalizer(schema, dataset_statistics(FieldDataset(ds, schema)))
    return FieldTraining(dim=16).compose(schema, normalizer).eval()


FULL = ("sample", "time", "x", "y")
REFUSED = {
    "input over fewer axes": ({"a": (("sample", "x"), "input")}, "`a` runs over .x., but"),
    "input on staggered points": ({"a": (("sample", "x_u", "y"), "input")}, "staggered"),
    "input over more axes": ({"a": (("sample", "x", "y", "k"), "input")}, "`a` runs over"),
    "number as input": ({"a": (("sample",), "input")}, "A number per sample can be a `parameter`"),
    "number as output": ({"u": (("sample",), "output")}, "cannot be predicted"),
    "input in time, static output": ({"a": (FULL, "input")}, "no state that evolves"),
    "output in time": ({"u": (FULL, "output")}, "`u` runs over .sample, time, x, y."),
    "input in time beside a state": ({"u": (FULL, "state"), "a": (FULL, "input")}, "only the st"),
    "forcing series": ({"u": (FULL, "state"), "a": (("sample", "time"), "input")}, "only the stat"),
    "output beside a state": ({"w": (FULL, "state")}, "`u` cannot be an output beside the state"),
    "state without time": ({"u": (("sample", "x", "y"), "state")}, "has no time axis"),
    "vector parameter": ({"p": (("sample", "k"), "parameter")}, "one number per sample"),
    "field as parameter": ({"p": (("sample", "x", "y"), "parameter")}, "role `input`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_roles_and_dims_that_do_not_fit_are_refused(case):
    changes, said = REFUSED[case]
    with pytest.raises(DataError, match=said):
        schema_of(static(**changes))


def test_dims_in_any_order_and_inputs_without_samples_are_accepted():
    ds = static(a=(("y", "x"), "input"))
    sample = FieldDataset(ds, schema_of(ds))[2]
    np.testing.assert_allclose(sample.u[:, 0], ds.a.values.T.ravel(), rtol=1e-6)


def test_values_that_are_no_real_numbers_are_refused():
    ds = static()
    for bad in (ds.a.values * 1j, ds.a.values.astype(str), ds.a.values.astype("datetime64[s]")):
        with pytest.raises(DataError, match=r"complex|real numbers"):
            schema_of(ds.assign(a=(ds.a.dims, bad, {"role": "input"})))


def test_a_prediction_is_checked_by_the_same_rules():
    ds = static()
    model = model_for(ds)
    given = ds[["a"]]
    assert model.predict(given)["u"].shape == (6, 9, 7)
    for changes, said in (
        ({"a": (("sample", "x"), "input"), "b": (("y",), "input")}, "`a` runs over"),
        ({"a": (FULL, "input")}, "no state that evolves"),
    ):
        with pytest.raises(DataError, match=said):
            model.predict(static(u=((), None), **changes))
    with pytest.raises(DataError, match="`a` has complex values"):
        model.predict(given * 1j)


def test_complex_variables_become_two_real_ones(tmp_path):
    z = values(6, 9, 7) + 1j * values(6, 9, 7)[::-1]
    ds = static().assign(a=(("sample", "x", "y"), z, {"role": "input"}))
    split = split_complex(ds)
    assert schema_of(split).inputs == ("a_re", "a_im")
    sample = FieldDataset(split, schema_of(split))[1]
    expected = np.stack([z[1].real, z[1].imag], -1).reshape(-1, 2)
    np.testing.assert_allclose(sample.u, expected, rtol=1e-6)
    model = model_for(split)
    xr.testing.assert_equal(model.predict(ds[["a"]]), model.predict(split[["a_re", "a_im"]]))
    with pytest.raises(DataError, match="exists already"):
        split_complex(ds.assign(a_im=ds.u))


def test_dates_become_numbers_from_the_first_frame():
    dates = np.datetime64("2020-03-01T12:00:00", "ns") + np.arange(4) * np.timedelta64(90, "m")
    u = (("sample", "time", "x"), values(2, 4, 9), {"role": "state"})
    ds = xr.Dataset({"u": u}, coords={"x": X, "time": dates})
    schema = schema_of(ds)
    assert schema.dt == 5400.0 and schema.units["time"] == "s"
    assert FieldDataset(ds, schema, horizon=2)[0].t.tolist() == [5400.0, 10800.0]
    hours = with_numeric_times(ds, "hours since 1950-01-01")["time"]
    assert hours.values.tolist() == [0.0, 1.5, 3.0, 4.5]
    assert hours.attrs["reference"] == "2020-03-01T12:00:00"
    out = model_for(ds).predict(ds)
    assert out.time.values.tolist() == [5400.0, 10800.0, 16200.0]
    assert out.time.attrs == {"units": "s", "reference": "2020-03-01T12:00:00"}
    with pytest.raises(DataError, match="unit of the model's times is not stated"):
        with_numeric_times(ds, None)


def test_a_scalar_time_is_the_time_of_the_given_frame():
    ds = xr.Dataset(
        {"u": (("sample", "time", "x"), values(2, 4, 9), {"role": "state"})},
        coords={"x": X, "time": 7.0 + np.arange(4)},
    )
    out = model_for(ds).predict(ds.isel(time=2))
    assert out.time.values.tolist() == [10.0]
    xr.testing.assert_equal(out, model_for(ds).predict(ds.isel(time=[2])))


@pytest.mark.parametrize(
    "times", [[3.0, 2.0, 1.0], [0.0, 1.0, 1.0], [0.0, np.nan, 1.0], [0.0, 1.0, np.inf]]
)
def test_times_must_ascend(times):
    with pytest.raises(DataError, match=r"does not ascend: frame|is nan at|is inf at"):
        check_times(xr.Dataset(coords={"time": ("time", np.array(times))}))
    own = np.array([[0.0, 1.0, 2.0], times])
    if np.isnan(times[-1]):
        return
    with pytest.raises(DataError, match="of sample 1"):
        check_times(xr.Dataset(coords={"sample_time": (("sample", "time"), own)}))


def test_trajectories_may_end_early():
    own = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, np.nan]])
    check_times(xr.Dataset(coords={"sample_time": (("sample", "time"), own)}))


def test_a_domain_without_extent_is_refused():
    ds = static()
    with pytest.raises(DataError, match="no extent along `x`"):
        schema_of(ds.isel(x=[3]))
    with pytest.raises(DataError, match="stride of 8 leaves 1"):
        schema_of(ds, stride=8)
    state = static(a=((), None), u=(FULL, "state")).isel(time=[0])
    with pytest.raises(DataError, match="one frame, so nothing evolves"):
        schema_of(state)


@pytest.mark.parametrize(
    "setting, said",
    [
        ({"stride": 0}, "`data.stride` is 0, but it must be at least 1"),
        ({"test_strides": (1, -2)}, r"`data.test_strides\[1\]` is -2"),
        ({"test_strides": ()}, "is empty"),
        ({"batch_size": 0}, "`data.batch_size`"),
        ({"samples": 0}, "`data.samples`"),
        ({"history": 0}, "`data.history`"),
        ({"horizon": 0}, "`data.horizon`"),
        ({"time_stride": 0}, "`data.time_stride`"),
        ({"window_stride": 0}, "`data.window_stride`"),
        ({"sensors": 0}, "`data.sensors`"),
        ({"workers": -1}, "`data.workers`"),
        ({"validation": -0.1}, "`data.validation` is -0.1"),
        ({"validation": 1.0}, "below 1"),
        ({"validation": 0.6, "test": 0.4}, "no samples for training"),
        ({"test": float("nan")}, "`data.test` is nan"),
    ],
)
def test_settings_of_the_data_are_checked(setting, said):
    with pytest.raises(DataError, match=said):
        FieldDataModule("any.h5", **setting)


@pytest.mark.parametrize(
    "samples, setting, said",
    [
        (1, {}, "none are left for validation and test"),
        (3, {}, "none are left for validation and test"),
        (6, {"validation": 0.2, "test": 0.0}, "none are left for test.*data.test_paths"),
        (4, {"validation": 0.4, "test": 0.59}, "none are left for train"),
    ],
)
def test_an_empty_part_of_the_split_is_refused(tmp_path, samples, setting, said):
    fields.write_dataset(static().isel(sample=slice(samples)), tmp_path / "d.h5")
    with pytest.raises(DataError, match=said):
        FieldDataModule(str(tmp_path / "d.h5"), **setting).setup()


def test_few_samples_are_enough_for_every_part_of_the_split(tmp_path):
    fields.write_dataset(static().isel(sample=slice(4)), tmp_path / "d.h5")
    data = FieldDataModule(str(tmp_path / "d.h5"))
    data.setup()
    assert [len(data.train), len(data.val), *map(len, data.tests.values())] == [2, 1, 1]


def test_a_recorded_split_without_test_samples_is_refused(tmp_path):
    ds = static().assign_coords(split=("sample", np.array([0, 0, 0, 0, 1, 1], "i1")))
    fields.write_dataset(ds, tmp_path / "d.h5")
    with pytest.raises(DataError, match="records this split in its coordinate `split`"):
        FieldDataModule(str(tmp_path / "d.h5")).setup()
    data = FieldDataModule(str(tmp_path / "d.h5"), test_paths=(str(tmp_path / "d.h5"),))
    data.setup()
    assert len(data.train) == 4 and len(data.val) == 2
