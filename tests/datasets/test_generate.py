"""Every problem: samples do not depend on workers, batches or resolution; files are complete."""

import json

import numpy as np
import pytest
import xarray as xr

from datasets.__main__ import main
from datasets.burgers import Burgers

SMALL = {"samples": 3, "resolution": 32, "seed": 7}


def made(problem, **changes) -> xr.Dataset:
    return xr.concat(problem.generate(**{**SMALL, **changes}), "sample", data_vars="minimal")


def test_same_samples_from_several_processes():
    problem = Burgers()
    problem.batch = 2
    xr.testing.assert_identical(made(problem), made(problem, workers=2))


def test_same_samples_in_other_batches_and_in_longer_sets():
    whole = Burgers()
    single = Burgers()
    single.batch = 1
    for name in ("a", "u"):
        np.testing.assert_allclose(
            made(single)[name], made(whole, samples=4)[name][:3], rtol=0, atol=1e-13
        )


def test_other_resolutions_are_the_same_functions_on_a_stride():
    coarse = made(Burgers())
    fine = made(Burgers(), resolution=512)
    for name in ("x", "a", "u"):
        np.testing.assert_allclose(coarse[name], fine[name][..., ::16], rtol=0, atol=1e-13)


def test_seeds_and_samples_differ():
    a = made(Burgers())["a"]
    b = made(Burgers(), seed=8)["a"]
    assert all(np.abs(a[0] - other).max() > 0.1 for other in (*a[1:], *b))


def run(*args):
    main([str(arg) for arg in args])


def test_command_writes_a_file_that_describes_itself(tmp_path):
    out = tmp_path / "new" / "b.h5"
    run(
        "burgers",
        "--samples",
        12,
        "--resolution",
        32,
        "--seed",
        7,
        "--out",
        out,
        "--viscosity",
        0.2,
    )
    with xr.open_dataset(out, engine="h5netcdf") as ds:
        assert dict(ds.sizes) == {"sample": 12, "x": 32}
        assert ds["split"].dtype == np.int8 and np.bincount(ds["split"]).tolist() == [10, 1, 1]
        assert ds["x"].attrs["periodic"] == 1 and ds["x"].attrs["bounds"].tolist() == [0, 1]
        assert (ds["a"].attrs["role"], ds["u"].attrs["role"]) == ("input", "output")
        np.testing.assert_allclose(
            ds["u"][:3], made(Burgers(viscosity=0.2))["u"], rtol=1e-6, atol=1e-9
        )
        protocol = json.loads(ds.attrs["protocol"])
        assert protocol["constants"] == {"viscosity": 0.2}
        assert protocol["run"] == {"samples": 12, "resolution": 32, "seed": 7}
        assert json.loads(ds.attrs["symmetries"])[0] == {"shift": ["x"]}


def test_interruption_leaves_the_old_file_and_no_part(tmp_path, monkeypatch, capsys):
    out = tmp_path / "b.h5"
    out.write_text("old")
    solve = Burgers.solve

    def interrupted(self, indices, **kwargs):
        if indices.start:
            raise KeyboardInterrupt
        return solve(self, indices, **kwargs)

    monkeypatch.setattr(Burgers, "solve", interrupted)
    with pytest.raises(SystemExit):
        run("burgers", "--samples", 100, "--resolution", 8, "--out", out)
    assert [p.name for p in tmp_path.iterdir()] == ["b.h5"] and out.read_text() == "old"
    assert "not written" in capsys.readouterr().err


def test_splits_follow_the_published_counts():
    assert np.bincount(Burgers().split(1200)).tolist() == [1000, 100, 100]


def test_no_samples_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        list(Burgers().generate(**{**SMALL, "samples": 0}))
