"""The command predict reports once what lies outside the training range."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

import fields
from fields.cli import main as cli

X = np.arange(128) / 128


def test_one_warning_for_all_samples_on_stderr_and_in_the_file(tmp_path, capsys):
    a = np.sin(2 * np.pi * X) * np.ones((40, 1))
    a[20:23] *= 100
    ds = xr.Dataset(
        {"a": (("sample", "x"), a, {"role": "input"})},
        coords={"x": ("x", X, {"periodic": 1, "bounds": (0.0, 1.0)})},
    )
    fields.write_dataset(ds, tmp_path / "in.h5")
    out = tmp_path / "out.nc"
    words = ["predict", "burgers", str(tmp_path / "in.h5"), "--out", str(out), "--json"]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["sizes"]["sample"] == 40
    lines = said.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: 3 of 40 inputs are unlike those of the training.")
    assert "Of samples 16 to 31" in lines[0] and "in sample 4" in lines[0]
    answer = fields.open_dataset(out)
    assert answer.attrs["extrapolation"] == lines[0].removeprefix("warning: ")
    assert np.flatnonzero(answer.novelty.values > 1).tolist() == [20, 21, 22]


def test_usual_inputs_give_no_warning(tmp_path, capsys):
    a = np.sin(2 * np.pi * X) * np.ones((20, 1))
    coords = {"x": ("x", X, {"periodic": 1, "bounds": (0.0, 1.0)})}
    ds = xr.Dataset({"a": (("sample", "x"), a, {"role": "input"})}, coords=coords)
    fields.write_dataset(ds, tmp_path / "in.h5")
    words = ["predict", "burgers", str(tmp_path / "in.h5"), "--out", str(tmp_path / "o.nc")]
    assert cli.main([*words, "--json"]) == 0
    assert capsys.readouterr().err == ""
