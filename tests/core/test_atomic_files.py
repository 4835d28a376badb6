"""A written file appears complete or not at all, whoever else writes it and whatever goes wrong."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import fields
from fields.cli.main import main
from fields.core.files import WriteError, atomic_path, check_not_source, write_atomically
from fields.core.locks import lock
from fields.io import open_dataset, write_dataset
from fields.io.tools.repack import repack
from fields.plot.style import new_figure, save_figure
from fields.training.fit import AtomicCheckpointIO

X = np.arange(64) / 64


def data(value: float = 1.0, samples: int = 3) -> xr.Dataset:
    """An input and an output of one value on 64 points."""
    values = np.full((samples, 64), value)
    a = (("sample", "x"), values, {"role": "input"})
    u = (("sample", "x"), values, {"role": "output"})
    axis = ("x", X, {"periodic": 1, "bounds": (0.0, 1.0)})
    return xr.Dataset({"a": a, "u": u}, coords={"x": axis})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def save_tensors(path: Path, value: float) -> None:
    content = {key: torch.full((100_000,), value) for key in "ab"}
    AtomicCheckpointIO().save_checkpoint(content, path)


def values_of(path: Path) -> set[float]:
    content = torch.load(path, weights_only=True)
    return {float(v) for key in "ab" for v in content[key].unique()}


def dataset_values(path: Path) -> set[float]:
    with open_dataset(path) as ds:
        return {float(v) for name in "au" for v in np.unique(ds[name].values)}


def write_values(path: Path, value: float) -> None:
    write_dataset(data(value, samples=20), path)


def write_often(write, path: Path, value: float) -> None:
    for _ in range(50):
        write(path, value)


@pytest.mark.parametrize(
    ("write", "read"), [(save_tensors, values_of), (write_values, dataset_values)]
)
def test_two_writers_of_one_target_never_mix(tmp_path, write, read):
    path = tmp_path / "target"
    write(path, 1.0)
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_often, args=(write, path, v)) for v in (1.0, 2.0)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert read(path) in ({1.0}, {2.0})
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert names(tmp_path) == ["target"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_path(path) as part:
        part.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and names(tmp_path) == ["a"]


def model_file(path: Path) -> None:
    fields.save(fields.load("burgers"), path)


def picture(path: Path) -> None:
    save_figure(new_figure(1, 1), path)


@pytest.mark.parametrize("write", [model_file, picture, write_values, save_tensors])
def test_a_new_file_has_the_mode_of_the_umask(tmp_path, write):
    path = tmp_path / "a.png"
    before = os.umask(0o027)
    try:
        write(*((path, 1.0) if write in (write_values, save_tensors) else (path,)))
    finally:
        os.umask(before)
    assert oct(path.stat().st_mode & 0o777) == "0o640"


def test_writing_through_a_link_keeps_it_and_replaces_what_it_leads_to(tmp_path):
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "a.h5"
    write_dataset(data(1.0), target)
    link = tmp_path / "link.h5"
    link.symlink_to(target)
    write_dataset(data(2.0), link)
    assert link.is_symlink() and dataset_values(target) == {2.0}
    repack(target, tmp_path / "copy.h5")
    other = tmp_path / "other.h5"
    other.symlink_to(tmp_path / "copy.h5")
    write_dataset(data(3.0), tmp_path / "new.h5")
    repack(tmp_path / "new.h5", other)
    assert other.is_symlink() and dataset_values(tmp_path / "copy.h5") == {3.0}


def test_a_place_where_no_file_can_be_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("folder", "is a folder"),
        ("missing/a", "does not exist"),
        ("file/a", "is not a folder"),
        ("pipe", "not a regular file"),
        ("n" * 256, "at most 255 bytes, this one has 256"),
        ("ü" * 200, "at most 255 bytes, this one has 400"),
    ):
        for write in (write_dataset, lambda content, path: write_atomically(path, "text")):
            with pytest.raises(WriteError, match=message) as raised:
                write(data(), tmp_path / name)
            assert "\n" not in str(raised.value)
    with pytest.raises(WriteError, match="not a regular file but a device"):
        write_dataset(data(), "/dev/null")
    assert not Path("/dev/null").is_file()
    assert names(tmp_path) == ["file", "folder", "pipe"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_write_protected_places_are_refused(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(WriteError, match="write-protected"):
        write_atomically(path, "new")
    tmp_path.chmod(0o555)
    with pytest.raises(WriteError, match="does not permit it"):
        write_atomically(tmp_path / "b", "new")
    tmp_path.chmod(0o755)


def test_the_longest_name_can_be_written(tmp_path):
    for name in ("n" * 252 + ".h5", "ü" * 126 + ".h5"):
        write_dataset(data(2.0), tmp_path / name)
        assert dataset_values(tmp_path / name) == {2.0}
        repack(tmp_path / name, tmp_path / ("m" + name[1:]))
    assert len(names(tmp_path)) == 4


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from fields.core.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as part:\n"
        "    part.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "a"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert len(names(tmp_path)) == 1 and not path.exists()
    with atomic_path(tmp_path / "b") as other:
        write_atomically(path, "whole")
        assert other.exists()  # of a living process
    assert names(tmp_path) == ["a", "b"]


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import fields, torch
from fields.cli.main import main
from fields.core.files import WriteError
from fields.training.fit import AtomicCheckpointIO
model = fields.load("burgers")
ds = fields.open_dataset("small.h5").load()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
state = {"w": torch.zeros(100_000)}
calls = {
    "write_dataset": lambda: fields.write_dataset(ds, "old"),
    "save": lambda: fields.save(model, "old"),
    "checkpoint": lambda: AtomicCheckpointIO().save_checkpoint(state, "old"),
    "repack": lambda: main(["repack", "big.h5", "old", "--json"]),
    "predict": lambda: main(["predict", "burgers", "small.h5", "--at", "9000", "--out", "old"]),
}
for name, call in calls.items():
    print(name, file=sys.stderr)
    try:
        status = call()
    except WriteError as error:
        status = 2
        print(f"error: {error}", file=sys.stderr)
    assert status == 2, status
"""


@pytest.mark.parametrize("size", [0, 30_000])
def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(tmp_path, size):
    """The limit on the size of files makes the writes fail as a full disk does."""
    write_dataset(data(samples=60), tmp_path / "small.h5")
    write_dataset(data(samples=300), tmp_path / "big.h5")
    (tmp_path / "old").write_text("old")
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(size)],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    sentence = (
        "error: Cannot write old: it would exceed the largest file size that is allowed here."
    )
    calls = ("write_dataset", "save", "checkpoint", "repack", "predict")
    said = [line for line in run.stderr.splitlines() if not line.startswith("warning: ")]
    assert said == [line for name in calls for line in (name, sentence)]
    assert names(tmp_path) == ["big.h5", "old", "small.h5"]
    assert (tmp_path / "old").read_text() == "old"


def test_what_is_read_is_never_the_target(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_dataset(data(2.0), "a.h5")
    os.link("a.h5", "hard.h5")
    os.symlink("a.h5", "soft.h5")
    os.mkdir("sub")
    for out in ("a.h5", "./a.h5", "sub/../a.h5", str(tmp_path / "a.h5"), "hard.h5", "soft.h5"):
        assert main(["predict", "burgers", "a.h5", "--out", out]) == 2
        assert "is the file that is read" in capsys.readouterr().err
        assert main(["repack", "a.h5", out]) == 2
        assert "is the file that is read" in capsys.readouterr().err
    assert main(["inspect", "a.h5", "--picture", "hard.h5"]) == 2
    model_file(tmp_path / "model.safetensors")
    assert main(["predict", "model.safetensors", "a.h5", "--out", "model.safetensors"]) == 2
    assert dataset_values(tmp_path / "a.h5") == {2.0}
    os.rename("a.h5", "sub/a.h5")
    with pytest.raises(ValueError, match="is the file that is read"):
        check_not_source("sub/a.h5", "sub")


def hold(path: Path, held, release) -> None:
    with lock(path, "busy"):
        held.set()
        release.wait(30)


def test_a_lock_is_held_by_one_process_and_freed_when_it_dies(tmp_path):
    fork = multiprocessing.get_context("fork")
    held = fork.Event()
    release = fork.Event()
    path = tmp_path / "lock"
    other = fork.Process(target=hold, args=(path, held, release))
    other.start()
    assert held.wait(60)
    message = rf"folder is in use \(process {other.pid} on {os.uname().nodename}\)"
    with pytest.raises(ValueError, match=message), lock(path, "folder is in use"):
        pass
    other.kill()
    other.join()
    assert path.exists()
    with lock(path, "folder is in use"):
        pass
    assert names(tmp_path) == []


def test_two_repacks_to_one_target_do_not_meet(tmp_path):
    write_dataset(data(2.0), tmp_path / "a.h5")

    def second(step, done, total):
        if (step, done) == ("write", 1):
            with pytest.raises(ValueError, match="being written by another repack"):
                repack(tmp_path / "a.h5", tmp_path / "b.h5")

    repack(tmp_path / "a.h5", tmp_path / "b.h5", progress=second)
    assert dataset_values(tmp_path / "b.h5") == {2.0}
    assert names(tmp_path) == ["a.h5", "b.h5"]
