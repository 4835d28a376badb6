"""A checkpoint contains all that prediction needs, is exact, and runs no code from the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from problems import operator, waves
from safetensors import safe_open
from safetensors.torch import save_file

import fields
from fields.checkpoints.checkpoint import KEY


def test_round_trip_is_bit_for_bit(tmp_path):
    model = operator((False, True))
    ds = waves(3, (8, 8), (False, True))
    fields.save(model, tmp_path / "m.safetensors", card={"note": "tested"})
    again = fields.load(tmp_path / "m.safetensors")
    assert again.schema == model.schema
    assert again.card == {"note": "tested"}
    np.testing.assert_array_equal(again.predict(ds).u.values, model.predict(ds).u.values)
    assert not list(tmp_path.glob("*.part"))


def test_a_header_from_before_quadrature_weights_opens(tmp_path):
    """Schemas of early files have no entry `weight`."""
    model = operator((True,))
    fields.save(model, tmp_path / "now.safetensors")
    with safe_open(tmp_path / "now.safetensors", "pt") as file:
        header = json.loads(file.metadata()[KEY])
    assert header["schema"].pop("weight") is None
    early = tmp_path / "early.safetensors"
    save_file(dict(model.state_dict()), early, metadata={KEY: json.dumps(header)})
    ds = waves(2, (8,), (True,))
    np.testing.assert_array_equal(fields.load(early).predict(ds).u, model.predict(ds).u)


def test_components_of_another_package_need_trust(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").touch()
    (tmp_path / "theirs" / "processor.py").write_text(
        "from fields.processors.transformer import Transformer\n\n\n"
        "class Deep(Transformer):\n"
        "    def __init__(self, dim: int, *, layers: int = 3):\n"
        "        super().__init__(dim, depth=layers)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from theirs.processor import Deep

    path = tmp_path / "deep.safetensors"
    part = operator((True,))
    model = fields.FieldOperator(
        schema=part.schema,
        normalizer=part.normalizer,
        dim=32,
        encoder=part.encoder,
        processor=Deep(32, layers=1),
        decoder=part.decoder,
        skip=part.skip,
    )
    fields.save(model.eval(), path)
    with pytest.raises(ValueError, match=r"load\(\.\.\., trust=\['theirs'\]\)"):
        fields.load(path)
    loaded = fields.load(path, trust=["theirs"])
    ds = waves(2, (8,), (True,))
    np.testing.assert_array_equal(loaded.predict(ds).u, model.predict(ds).u)


@pytest.mark.parametrize(
    "path",
    sorted((Path(fields.__file__).parent / "pretrained").glob("*.safetensors")),
    ids=lambda p: p.stem,
)
def test_shipped_files_open(path):
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()[KEY])["format"] == 2
    model = fields.load(path.stem)
    assert model.card["scores"] and not model.training


def test_the_shipped_burgers_model_still_solves_burgers():
    """Against the solution of Cole and Hopf.

    u = −2ν φ_x/φ with φ_t = ν φ_xx and φ(0) = exp(−∫a/2ν).
    """
    nu = 0.1
    n = 256
    x = np.arange(n) / n
    a = np.cos(2 * np.pi * x)
    k = 2 * np.pi * np.arange(n // 2 + 1)
    phi = np.fft.rfft(np.exp(-np.sin(2 * np.pi * x) / (2 * np.pi) / (2 * nu))) * np.exp(-nu * k**2)
    u = -2 * nu * np.fft.irfft(1j * k * phi, n=n) / np.fft.irfft(phi, n=n)
    ds = xr.Dataset(
        {"a": (("sample", "x"), a[None])},
        coords={"x": ("x", x, {"periodic": 1, "bounds": (0.0, 1.0)})},
    )
    out = fields.load("burgers").predict(ds).u.values[0]
    assert np.linalg.norm(out - u) < 0.05 * np.linalg.norm(u)


def test_classes_of_other_packages_are_not_constructed(tmp_path):
    model = operator((True,))
    fields.save(model, tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        header = json.loads(file.metadata()[KEY])
    for path, message in (
        ("os.system", "outside `fields`"),
        ("fields.core.component.import_module", "not a component of a model"),
    ):
        header["model"]["init_args"]["processor"]["class_path"] = path
        save_file(
            dict(model.state_dict()),
            tmp_path / "bad.safetensors",
            metadata={KEY: json.dumps(header)},
        )
        with pytest.raises(ValueError, match=message):
            fields.load(tmp_path / "bad.safetensors")


def test_files_of_other_programs_are_refused(tmp_path):
    (tmp_path / "text").write_text("hello")
    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a safetensors file"):
        fields.load(tmp_path / "text")
    with pytest.raises(ValueError, match="another program"):
        fields.load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="no pretrained model"):
        fields.load("nothing-of-that-name")


def test_prediction_at_own_points_on_grids_and_at_scattered_points():
    model = operator((False, True))
    ds = waves(3, (8, 8), (False, True))
    own = model.predict(ds)
    assert own.u.dims == ("sample", "x", "y")
    assert own.u.attrs["units"] == "J"
    assert own.x.attrs["units"] == "m"
    grid = model.predict(ds, at={"x": ds.x.values[::2], "y": ds.y.values[1::3]})
    np.testing.assert_allclose(grid.u, own.u[:, ::2, 1::3], atol=1e-5)
    points = model.predict(
        ds,
        at={
            "x": xr.DataArray(ds.x.values[[1, 4]], dims="p"),
            "y": xr.DataArray(ds.y.values[[2, 7]], dims="p"),
        },
    )
    assert points.u.dims == ("sample", "point")
    np.testing.assert_allclose(points.u, own.u.values[:, [1, 4], [2, 7]], atol=1e-5)
    small = model.predict(ds, memory=1e5, batch_size=2)
    np.testing.assert_allclose(small.u, own.u, atol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ds: (ds.rename(a="b"), None), "no variable 'a'; they have"),
        (lambda ds: (ds.drop_vars("x"), None), "no coordinate 'x'"),
        (lambda ds: (ds.where(ds.a < ds.a.max()), None), "not finite at {'sample'"),
        (lambda ds: (ds, {"x": [0.0, 1.7], "y": [0.0]}), "trained on"),
        (lambda ds: (ds, {"x": [0.0]}), "needs exactly the coordinates"),
        (lambda ds: (ds.assign_coords(x=ds.x * 3), None), "would extrapolate"),
    ],
)
def test_bad_input_is_explained(spoil, message):
    model = operator((False, True))
    ds, at = spoil(waves(2, (8, 8), (False, True)))
    with pytest.raises(fields.DataError, match=message):
        model.predict(ds, at=at)
