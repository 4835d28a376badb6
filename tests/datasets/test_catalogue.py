"""Every problem of the catalogue: its command parses, and its file opens in canonical form."""

import json

import numpy as np
import pytest

from datasets.__main__ import catalogue, parser
from datasets.base import Problem, write
from datasets.evolution import Evolution
from fields.io import open_dataset

every = pytest.mark.parametrize("cls", catalogue().values(), ids=lambda c: c.name)


@every
def test_file_opens_in_canonical_form(cls: type[Problem], tmp_path):
    problem = cls(frames=2) if issubclass(cls, Evolution) else cls()
    run = {"samples": 1, "resolution": cls.resolution, "seed": 0}
    write(problem, tmp_path / "one", batches=problem.generate(**run), **run)
    ds = open_dataset(tmp_path / "one")
    roles = {v.attrs["role"] for v in ds.data_vars.values()}
    assert "state" in roles or roles >= {"input", "output"}
    assert all(v.attrs["units"] for v in ds.data_vars.values()) and ds["split"].dims == ("sample",)
    protocol = json.loads(ds.attrs["protocol"])
    assert protocol["run"] == run and protocol["recipe"].count("\n") > 2
    axes = [a for a in "xy" if a in ds.coords]
    for symmetry in json.loads(ds.attrs["symmetries"]):
        assert set(symmetry) <= {"shift", "flip", "permute", "negate"}
        named = [
            *symmetry.get("shift", []),
            *symmetry.get("flip", []),
            *symmetry.get("permute", []),
        ]
        assert set(named) <= set(axes) and set(symmetry.get("negate", [])) <= set(ds.data_vars)
        assert all(ds[a].attrs["periodic"] for a in symmetry.get("shift", []))
    for a in axes:
        low, high = ds[a].attrs["bounds"]
        assert low <= np.nanmin(ds[a]) and np.nanmax(ds[a]) <= high
    ds.close()


@every
def test_command_offers_the_constants_of_the_problem(cls):
    args = parser().parse_args([cls.name, "--samples", "3"])
    assert (
        args.problem == cls.name
        and args[cls.name].samples == 3
        and args[cls.name].resolution == cls.resolution
    )
    if issubclass(cls, Evolution):
        args = parser().parse_args([cls.name, "--part", "test", "--frames", "7"])
        assert (args[cls.name].part, args[cls.name].frames) == ("test", 7)
