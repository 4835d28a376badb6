"""inspect, validate and repack: what they print and which files they leave."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys

import h5netcdf
import h5py
import numpy as np
import pytest
import writers
import xarray as xr

from fields.cli.main import main
from fields.io import DataError, open_dataset, write_dataset
from fields.io.tools.proposal import propose_mapping
from fields.io.tools.repack import repack
from fields.io.tools.validate import validate


def evolution(samples=4, frames=5, points=8):
    u = np.random.default_rng(0).normal(size=(samples, frames, points)).astype("f4")
    x = ("x", np.arange(points) / points, {"periodic": 1, "bounds": (0.0, 1.0), "units": "m"})
    return xr.Dataset(
        {"u": (("sample", "time", "x"), u, {"role": "state", "units": "m/s"})},
        {"x": x, "time": ("time", np.arange(frames) * 0.1)},
    )


def findings(ds, path, level="error"):
    write_dataset(ds, path)
    return [f"{f.where}: {f.message}" for f in validate(path) if f.level == level]


def test_a_valid_file_has_no_findings(tmp_path):
    write_dataset(evolution(), tmp_path / "a.nc")
    assert validate(tmp_path / "a.nc") == []


def broken(edit):
    ds = evolution()
    edit(ds)
    return ds


@pytest.mark.parametrize(
    ("edit", "level", "text"),
    [
        (
            lambda ds: ds["u"].values.__setitem__((2, 3, 4), np.nan),
            "error",
            "u: Values are not finite at sample 2, index (3, 4), and in 1 of 4",
        ),
        (
            lambda ds: ds["u"].values.__setitem__((slice(None), slice(None), 3), np.inf),
            "warning",
            "The same points",
        ),
        (lambda ds: ds["u"].values.__setitem__(slice(None), 1.0), "error", "All values are 1.0"),
        (lambda ds: ds["u"].values.__setitem__(1, 2.0), "warning", "Constant in 1 samples: 1"),
        (lambda ds: ds["u"].values.__setitem__(3, ds["u"].values[0]), "warning", "first: 0 and 3"),
        (
            lambda ds: ds["u"].values.__setitem__((1, 3), 0.0),
            "error",
            "u[1]: The last frame but one is all zero",
        ),
        (
            lambda ds: ds.__setitem__("time", [0, 0.1, 0.2, 0.3, 0.9]),
            "warning",
            "Time steps differ, from 0.1 to 0.6",
        ),
        (lambda ds: ds.__setitem__("time", [4.0, 3, 2, 1, 0]), "error", "Time runs backwards"),
        (lambda ds: ds["x"].attrs.pop("periodic"), "warning", "whether x is periodic"),
        (lambda ds: ds["u"].attrs.pop("units"), "warning", "No units for u"),
        (
            lambda ds: ds["u"].attrs.update(units="K"),
            "error",
            "Some values are negative, but the unit is kelvin",
        ),
        (
            lambda ds: ds["u"].attrs.update(role="input"),
            "error",
            "No variable has the role output or state",
        ),
    ],
)
def test_each_problem_is_found(tmp_path, edit, level, text):
    assert any(text in line for line in findings(broken(edit), tmp_path / "a.nc", level))


def test_components_in_different_units(tmp_path):
    ds = evolution()
    ds = ds.assign(v_x=ds["u"], v_y=ds["u"].assign_attrs(units="cm/s"))
    assert any(
        "The components have different units" in line for line in findings(ds, tmp_path / "a.nc")
    )


def test_all_damaged_places_are_listed(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "tensor",
            data=np.random.default_rng(0).random((3, 4, 64)),
            chunks=(1, 4, 64),
            compression="gzip",
        )
        file["x-coordinate"], file["t-coordinate"] = np.arange(64) + 0.5, np.arange(4.0)
        places = [file["tensor"].id.get_chunk_info_by_coord((i, 0, 0)).byte_offset for i in (0, 2)]
    raw = bytearray(path.read_bytes())
    for place in places:
        raw[place + 100 : place + 110] = bytes(10)
    path.write_bytes(raw)
    errors = [f for f in validate(path) if f.level == "error"]
    assert [f.where for f in errors] == [
        "u[0]",
        "u[2]",
    ] and "`tensor` cannot be read at [2, 0:4, 0:64]" in errors[1].message


def test_inspect_says_how_a_file_is_stored(tmp_path, capsys):
    path = tmp_path / "a.h5"
    writers.pdebench_flat(path, n=64)
    with h5py.File(path, "a") as file:
        values = file["tensor"][...]
        del file["tensor"]
        file.create_dataset(
            "tensor", data=np.tile(values, (1, 5, 1)), chunks=(1, 20, 64), compression="gzip"
        )
        del file["t-coordinate"]
        file["t-coordinate"] = np.arange(21.0)
    assert main(["inspect", str(path), "--json", "--picture", str(tmp_path / "a.png")]) == 0
    about = json.loads(capsys.readouterr().out)
    u = about["variables"]["u"]
    assert (u["chunks"], u["compression"], u["place"], u["role"]) == (
        [1, 20, 64],
        "gzip",
        "/tensor",
        "state",
    )
    assert about["speed"]["windows_per_second"] > 0 and "repack" in about["advice"][0]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert (
        "/tensor, chunks 1x20x64, gzip" in text
        and "[-1, 1] periodic" in text
        and "\x1b" not in text
    )


def test_inspect_proposes_a_mapping_that_opens_the_file(tmp_path, capsys):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.update(
            {"run/psi": np.random.default_rng(0).random((3, 4, 5, 6)), "run/t": np.arange(5.0)}
        )
        file.update({"run/xs": np.arange(5) / 5, "run/ys": np.arange(6) / 6})
    wanted = {"x": "/run/xs", "y": "/run/ys", "time": "/run/t"}
    mapping = propose_mapping(path)
    assert mapping == {
        "dims": ["sample", "time", "x", "y"],
        "fields": {"psi": "/run/psi"},
        "coords": wanted,
    }
    assert open_dataset(path, mapping=mapping)["psi"].dims == ("sample", "time", "x", "y")
    assert main(["inspect", str(path)]) == 1 and "psi: /run/psi" in capsys.readouterr().out


def test_validate_on_the_command_line(tmp_path, capsys):
    write_dataset(evolution(), tmp_path / "a.nc")
    assert main(["validate", str(tmp_path / "a.nc")]) == 0
    write_dataset(
        broken(lambda ds: ds["u"].values.__setitem__((2, 3, 4), np.nan)), tmp_path / "b.nc"
    )
    assert main(["validate", str(tmp_path / "b.nc"), "--json"]) == 1
    assert "not finite at sample 2" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "none.nc")]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("write", [writers.the_well, writers.pdebench_groups, writers.pdearena])
def test_repack_keeps_everything(tmp_path, write, compression):
    write(tmp_path / "a.h5")
    steps = []
    repack(
        tmp_path / "a.h5",
        tmp_path / "b.nc",
        compression=compression,
        progress=lambda *step: steps.append(step),
    )
    ds, back = open_dataset(tmp_path / "a.h5"), open_dataset(tmp_path / "b.nc")
    assert set(ds.variables) == set(back.variables) and back.attrs == ds.attrs | {
        "layout": "bracketfields"
    }
    for name in ds.variables:
        xr.testing.assert_equal(back[name], ds[name])
        assert back[name].attrs == ds[name].attrs
    total = sum(ds.sizes["sample"] for v in ds.data_vars.values() if v.ndim > 1)
    assert steps == [(s, i + 1, total) for s in ("write", "verify") for i in range(total)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "b.nc"]


def test_an_interrupted_repack_continues_where_it_stopped(tmp_path):
    data = writers.pdebench_flat(tmp_path / "a.h5", samples=6)
    source, target = tmp_path / "a.h5", tmp_path / "b.nc"

    def stop(step, done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repack(source, target, progress=stop)
    assert not target.exists()
    with h5py.File(tmp_path / "b.nc.part", "a") as part:
        assert part["u"].attrs["repacked_samples"] == 4
        part["u"][0] = 7.0  # shows that samples are not written again, and that the end is checked
    with pytest.raises(DataError, match="`u` of sample 0 differs"):
        repack(source, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5"]
    with pytest.raises(KeyboardInterrupt):
        repack(source, target, progress=stop)
    repack(source, target)
    np.testing.assert_array_equal(open_dataset(target)["u"], data["tensor"])


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_repack_continues_where_it_stopped(tmp_path, monkeypatch, signal_):
    monkeypatch.setattr("fields.io.tools.repack.FLUSH_INTERVAL", 0.0)
    data = writers.pdebench_flat(tmp_path / "a.h5", kind="cfd1", samples=20)
    source, target = tmp_path / "a.h5", tmp_path / "b.nc"

    def kill(step, done, total):
        if done == 30:  # in the middle of the second field
            os.kill(os.getpid(), signal_)

    writer = multiprocessing.get_context("fork").Process(
        target=repack, args=(source, target), kwargs={"progress": kill}
    )
    writer.start()
    writer.join()
    assert writer.exitcode == -signal_ and not target.exists()
    steps, written = [], h5netcdf.Variable.__setitem__
    monkeypatch.setattr(
        h5netcdf.Variable,
        "__setitem__",
        lambda self, *what: steps.append(self.name) or written(self, *what),
    )
    repack(source, target)
    assert len(steps) == 30 and not (tmp_path / "b.nc.part").exists()  # the other 30 of 60 samples
    for name, values in data.items():
        np.testing.assert_array_equal(open_dataset(target)[name], values)


def test_a_part_of_another_source_is_written_anew(tmp_path):
    writers.pdebench_flat(tmp_path / "a.h5")
    (tmp_path / "b.nc.part").write_bytes(b"something else")
    repack(tmp_path / "a.h5", tmp_path / "b.nc")
    assert open_dataset(tmp_path / "b.nc").sizes["sample"] == 3


def test_help_lists_the_commands_without_loading_libraries():
    code = (
        "import sys, fields.cli.main\n"
        "sys.argv[1:] = ['--help']\n"
        "try: fields.cli.main.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'xarray', 'h5py', 'matplotlib', 'lightning'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert all(word in answer.stdout for word in ("inspect", "validate", "repack"))
    assert answer.stdout.endswith("[]\n")


def test_texts_of_a_file_are_printed_as_they_are(tmp_path, capsys):
    ds = evolution().rename(u="[red]u :smile:").assign_attrs({"[bold]note": "\x1b[2J[/] \\"})
    ds["[red]u :smile:"].attrs["units"] = "[/red]"
    ds["[red]u :smile:"][1] = 2.0
    path = tmp_path / "[green]a.nc"
    write_dataset(ds, path)
    for command in ("inspect", "validate"):
        assert main([command, str(path)]) == 0
        text = capsys.readouterr().out
        assert "[red]u :smile:" in text and "[green]a.nc" in text and "\x1b" not in text
        assert command == "validate" or "[bold]note: \\x1b[2J[/] \\" in text


def test_inspect_does_not_advise_inspect(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("x,u\n0,1\n")
    np.savez(tmp_path / "a.npz", field=np.zeros((3, 4)))
    np.savez(tmp_path / "names.npz", a=np.array(["a"]))
    for name, status in (("a.csv", 2), ("a.npz", 1), ("names.npz", 2), ("none", 2)):
        assert main(["inspect", str(tmp_path / name)]) == status
        said = capsys.readouterr()
        assert "fields inspect" not in said.out + said.err


PATHS = {
    "https://zenodo.org/a.h5": "is a URL",
    "s3://bucket/a.zarr": "is a URL",
    "~/none.h5": r"^/.* does not exist",
    "/dev/null": "is a device or a pipe",
    "x" * 300: "cannot be the path of a file",
    "": "The path is empty",
    "dangling.h5": "is a link to gone.h5, which does not exist",
    "store.zarr": "is a Zarr store, which is not read",
    "mesh.vtu": "is a VTK file of meshes",
    "mesh.xdmf": "is an XDMF file",
    "page.html": "is a web page",
    "a.csv": r"looks like a text file \(it begins with 'x,u'\)",
    "a.pkl": "looks like a Python pickle",
}


@pytest.mark.parametrize("path", PATHS)
def test_what_cannot_be_opened_is_called_by_its_name(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dangling.h5").symlink_to("gone.h5")
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "store.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "mesh.vtu").write_text('<?xml version="1.0"?>\n<!-- a --><VTKFile type="U">')
    (tmp_path / "mesh.xdmf").write_text('<?xml version="1.0" ?>\n<!DOCTYPE Xdmf>\n<Xdmf>')
    (tmp_path / "page.html").write_text('<?xml version="1.0"?><!DOCTYPE html><html>')
    (tmp_path / "a.csv").write_text("x,u\n0,1\n")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(DataError, match=PATHS[path]):
        open_dataset(path)
