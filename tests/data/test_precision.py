"""Digits that single precision would lose are kept until the mean is removed."""

import numpy as np
import pytest
import torch
import xarray as xr

from fields.checkpoints.checkpoint import load, save
from fields.core.sample import collate
from fields.data import FieldDataset, dataset_statistics, schema_of
from fields.data.normalizer import Normalizer
from fields.training.task import FieldTraining

N = 32


def problem(offset=0.0, scale=1.0, shift=0.0, length=1.0, kind="f8"):
    """Random inputs, outputs and a parameter, in other units and around other values."""
    random = np.random.default_rng(3)
    a, u = random.normal(size=(2, 10, N))
    p = random.normal(size=10)
    dims = ("sample", "x")
    return xr.Dataset(
        {
            "a": (dims, (offset + scale * a).astype(kind), {"role": "input"}),
            "u": (dims, (offset + scale * u).astype(kind), {"role": "output"}),
            "p": ("sample", offset + scale * p, {"role": "parameter"}),
        },
        coords={"x": shift + length * np.arange(N) / N},
    )


def normalized(ds):
    """All normalized samples: points, inputs, outputs and parameters."""
    data = FieldDataset(ds, schema_of(ds))
    normalizer = Normalizer(data.schema, dataset_statistics(data))
    batch = collate([data[i] for i in range(len(data))])
    return (
        normalizer.points(batch.x),
        normalizer.inputs(batch.u, batch.params),
        normalizer.normalized(batch.v, batch.params),
        normalizer.params(batch.params),
    )


@pytest.mark.filterwarnings("ignore:Single precision")
@pytest.mark.parametrize(
    "units",
    [
        {"scale": 1e5, "length": 1e3},
        {"scale": 1e-9, "length": 1e-6},
        {"scale": 1e30, "length": 1e25},
        {"scale": 1e44, "length": 1e20},
        {"scale": 1e-44, "length": 1e-40},
        {"offset": 101325.0, "scale": 0.01},
        {"offset": -3e8, "scale": 1.0},
        {"shift": 5.4e6, "length": 16.0},
        {"shift": 1e9, "length": 0.01},
    ],
)
def test_units_and_origins_do_not_change_normalized_samples(units):
    for one, other in zip(normalized(problem()), normalized(problem(**units)), strict=True):
        assert one.dtype == other.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def test_ordinary_data_stay_in_single_precision():
    for kind in ("f8", "f4"):
        data = FieldDataset(problem(kind=kind), schema_of(problem()))
        assert {t.dtype for t in data[0]} == {torch.float32, torch.bool}
        normalizer = Normalizer(data.schema, dataset_statistics(data))
        assert {b.dtype for b in normalizer.buffers()} == {torch.float32}
    # Values that are stored in single precision have no digits that could be lost.
    coarse = problem(offset=101325.0, scale=0.01, kind="f4")
    assert FieldDataset(coarse, schema_of(coarse))[0].u.dtype == torch.float32


def test_double_precision_is_stated():
    ds = problem(offset=101325.0, scale=0.01)
    with pytest.warns(UserWarning, match="would lose digits of a, u"):
        FieldDataset(ds, schema_of(ds))


@pytest.mark.filterwarnings("ignore:Single precision")
def test_predictions_and_checkpoints_keep_the_digits(tmp_path):
    ds = problem(offset=101325.0, scale=0.01, shift=5.4e6, length=8.0)
    schema = schema_of(ds)
    normalizer = Normalizer(schema, dataset_statistics(FieldDataset(ds, schema)))
    torch.manual_seed(0)
    model = FieldTraining(dim=16).compose(schema, normalizer).eval()
    predicted = model.predict(ds)["u"]
    assert predicted.dtype == np.float64
    assert len(np.unique(predicted.values[0])) > N // 2  # in steps of 1/128 there would be 1 or 2
    assert abs(predicted.values - 101325).max() < 1
    save(model, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert again.normalizer.center.dtype == torch.float64
    xr.testing.assert_identical(again.predict(ds)["u"], predicted)


@pytest.mark.filterwarnings("ignore:Single precision")
@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_the_loss_of_extreme_values_is_that_of_ordinary_ones(scale):
    from fields.metrics.losses import relative_l2

    def error(ds):
        data = FieldDataset(ds, schema_of(ds))
        normalizer = Normalizer(data.schema, dataset_statistics(data))
        batch = collate([data[i] for i in range(4)])
        zero = normalizer.physical(torch.zeros_like(batch.v, dtype=torch.float32), batch.params)
        return relative_l2(zero, batch.v, batch.y_mask).double()

    torch.testing.assert_close(error(problem()), error(problem(scale=scale)), rtol=1e-5, atol=0)
