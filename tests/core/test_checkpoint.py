"""A checkpoint predicts on its own, is bit-exact, runs no foreign code, and says what is wrong with its inputs."""

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


def test_format_one_stays_readable(tmp_path):
    """The header of format 1, written out by hand: names and nesting are a promise to files that exist."""
    model = operator((True,), skip=False)
    part = {
        "class_path": "fields.processors.transformer.Transformer",
        "init_args": {"dim": 32, "depth": 2},
    }
    header = {
        "format": 1,
        "model": {
            "class_path": "fields.models.static.FieldOperator",
            "init_args": {
                "dim": 32,
                "encoder": {"class_path": "fields.encoders.cross_attention_encoder.CrossAttentionEncoder", "init_args": {"dim": 32, "tokens": [4]}},
                "processor": part,
                "decoder": {"class_path": "fields.decoders.cross_attention.CrossAttention", "init_args": {"dim": 32}},
                "skip": None,
            },
        },
        "schema": {
            "coords": ["x"], "inputs": ["a"], "outputs": ["u"], "params": [], "units": {"u": "J"}, "periodic": [True],
            "homogeneous": [True], "bounds": [[0.0, 1.0]], "grid": [8], "dt": None, "history": 1,
        },
        "card": {},
    }  # fmt: skip
    save_file(
        dict(model.state_dict()), tmp_path / "one.safetensors", metadata={KEY: json.dumps(header)}
    )
    ds = waves(2, (8,), (True,))
    np.testing.assert_array_equal(
        fields.load(tmp_path / "one.safetensors").predict(ds).u, model.predict(ds).u
    )


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
    """Weights written long ago against the Cole–Hopf solution: u = −2ν φ_x/φ with φ_t = ν φ_xx, φ(0) = exp(−∫a/2ν)."""
    nu, n = 0.1, 256
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


def test_foreign_classes_are_not_made(tmp_path):
    model = operator((True,))
    fields.save(model, tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        header = json.loads(file.metadata()[KEY])
    for path, said in (
        ("os.system", "outside `fields`"),
        ("fields.core.component.import_module", "not a component of a model"),
    ):
        header["model"]["init_args"]["processor"]["class_path"] = path
        save_file(
            dict(model.state_dict()),
            tmp_path / "bad.safetensors",
            metadata={KEY: json.dumps(header)},
        )
        with pytest.raises(ValueError, match=said):
            fields.load(tmp_path / "bad.safetensors")


def test_files_that_are_none_of_ours(tmp_path):
    (tmp_path / "text").write_text("hello")
    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a safetensors file"):
        fields.load(tmp_path / "text")
    with pytest.raises(ValueError, match="another program"):
        fields.load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="no pretrained model"):
        fields.load("nothing-of-that-name")


def test_predict_answers_where_it_is_asked():
    model, ds = operator((False, True)), waves(3, (8, 8), (False, True))
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
    ("spoil", "said"),
    [
        (lambda ds: (ds.rename(a="b"), None), "no variable 'a'; they have"),
        (lambda ds: (ds.drop_vars("x"), None), "no coordinate 'x'"),
        (lambda ds: (ds.where(ds.a < ds.a.max()), None), "not finite at {'sample'"),
        (lambda ds: (ds, {"x": [0.0, 1.7], "y": [0.0]}), "trained on"),
        (lambda ds: (ds, {"x": [0.0]}), "needs exactly the coordinates"),
        (lambda ds: (ds.assign_coords(x=ds.x * 3), None), "would extrapolate"),
    ],
)
def test_bad_input_gets_one_sentence(spoil, said):
    model = operator((False, True))
    ds, at = spoil(waves(2, (8, 8), (False, True)))
    with pytest.raises(fields.DataError, match=said):
        model.predict(ds, at=at)
