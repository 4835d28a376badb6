"""Statistics are exact, of the training split only, read chunk by chunk, and cached."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from problems import waves

from fields.core.memory_limits import available
from fields.data import FieldDataset, schema_of
from fields.data.chunks import find_nonfinite, iter_chunks
from fields.data.datamodule import FieldDataModule
from fields.data.scaling import MinMax, PerParameter
from fields.data.statistics import RunningStatistics, dataset_statistics
from fields.io import open_dataset, write_dataset


@given(
    arrays(np.float64, st.integers(0, 20), elements=st.floats(-1e3, 1e3)),
    st.lists(st.integers(0, 20), max_size=4),
    st.sampled_from([0.0, 1e6]),
)
def test_merged_statistics_of_parts_are_those_of_the_whole(values, cuts, offset):
    values = values + offset
    parts = np.split(values, sorted(min(c, len(values)) for c in cuts))
    merged = RunningStatistics()
    for part in parts:
        with_gap = np.concatenate([part, [np.nan]])  # land, padding
        merged = merged.merge(RunningStatistics.of(with_gap))
    assert merged.count == len(values)
    if len(values):
        assert merged.mean == pytest.approx(values.mean(), rel=1e-14, abs=1e-10)
        assert merged.std == pytest.approx(values.std(), rel=1e-8, abs=1e-7)
        assert (merged.low, merged.high) == (values.min(), values.max())


def test_a_small_variance_on_a_large_mean_survives_float32(tmp_path):
    """1000 ± 1e-3, as float64 in the file: Σx² − (Σx)²/n in float32 gives NaN here."""
    ds = waves(8, (64,), (True,))
    values = 1000 + 1e-3 * np.random.default_rng(0).normal(size=(8, 64))
    ds["a"] = (("sample", "x"), values, {"role": "input"})
    write_dataset(ds, tmp_path / "a.nc")
    opened = open_dataset(tmp_path / "a.nc")
    for limit in (0, 1e9):
        found = dataset_statistics(
            FieldDataset(opened, schema_of(opened), indices=[1, 2, 5, 7], memory_limit=limit)
        )["a"]
        assert found.mean == pytest.approx(values[[1, 2, 5, 7]].mean(), rel=1e-14)
        assert found.std == pytest.approx(values[[1, 2, 5, 7]].std(), rel=1e-9)


def test_iter_chunks_reads_every_value_and_every_chunk_once(tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(size=(11, 9, 4)).astype("f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("tensor", data=values, chunks=(3, 2, 4), compression="gzip")
        file["x-coordinate"] = np.arange(4) + 0.5
        file["t-coordinate"] = np.arange(10.0)
    variable = open_dataset(tmp_path / "a.h5").variables["u"]
    # Four frames of three samples.
    monkeypatch.setattr("fields.data.chunks.CHUNK_BYTES", 3 * 4 * 4 * 4)
    indices = np.array([0, 2, 3, 4, 5, 7, 10])
    seen = []
    asked = []
    for numbers, _, part in iter_chunks(variable, indices):
        assert part.shape[0] == len(numbers) and part.nbytes <= 3 * 4 * 4 * 4
        seen.append(part.ravel())
        asked += [(int(n) // 3, len(seen)) for n in numbers]
    assert np.array_equal(np.sort(np.concatenate(seen)), np.sort(values[indices].ravel()))
    # Chunk rows 0 to 3, in three runs of frames.
    assert len({group for group, _ in asked}) == 4 and len(seen) == 4 * 3


def test_statistics_are_of_the_training_split(tmp_path):
    ds = waves(12, (8,), (True,)).assign_coords(
        split=("sample", np.array([0] * 6 + [1] * 3 + [2] * 3, "i1"))
    )
    ds["a"][6:] = 1e6
    write_dataset(ds, tmp_path / "a.nc")
    data = FieldDataModule(str(tmp_path / "a.nc"))
    data.setup()
    assert data.statistics["a"].high < 10 and data.statistics["a"].mean == pytest.approx(
        float(ds.a[:6].astype(float).mean())
    )


@pytest.mark.parametrize("chunks", [None, (1, 1, 16), (3, 4, 16)])
def test_a_value_that_is_not_finite_is_found_chunk_by_chunk(tmp_path, monkeypatch, chunks):
    # Three frames.
    monkeypatch.setattr("fields.data.chunks.CHUNK_BYTES", 16 * 8 * 3)
    held = []
    values = np.random.default_rng(0).normal(size=(7, 9, 16))
    for place in (None, (0, 0, 0), (6, 8, 15), (4, 5, 3)):
        path = tmp_path / f"{place}.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("tensor", data=values, chunks=chunks)
            if place is not None:
                file["tensor"][place] = np.inf
            file["x-coordinate"] = np.arange(16.0)
            file["t-coordinate"] = np.arange(10.0)
        for variable in (
            open_dataset(path)["u"].variable,
            open_dataset(path)["u"].isel(time=slice(None)).variable,
        ):
            assert find_nonfinite(variable) == (
                place and dict(zip(("sample", "time", "x"), place, strict=True))
            )
            held += [part.nbytes for _, _, part in iter_chunks(variable, np.arange(7))]
    assert max(held) <= 16 * 8 * (12 if chunks == (3, 4, 16) else 3)
    assert (
        find_nonfinite(xr.Variable("x", [1.0, np.nan])) == {"x": 1}
        and find_nonfinite(xr.Variable((), 3)) is None
    )


def counted(monkeypatch) -> list[int]:
    calls: list[int] = []
    monkeypatch.setattr(
        "fields.data.statistics.dataset_statistics",
        lambda *given: calls.append(1) or dataset_statistics(*given),
    )
    return calls


def test_statistics_are_cached_beside_the_file_until_it_changes(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    calls = counted(monkeypatch)
    ds = waves(10, (8,), (True,))
    ds["k"] = ("sample", np.arange(10.0) % 2, {"role": "parameter"})
    write_dataset(ds, path)
    kinds = {"a": MinMax(), "u": PerParameter("k")}

    def fresh(**options):
        data = FieldDataModule(str(path), **options)
        data.setup()
        return data.statistics

    first = fresh(scalings=kinds)
    kept = path.with_name("a.nc.statistics.json")
    again = fresh(scalings=kinds)
    assert len(calls) == 1 and repr({n: s[:7] for n, s in again.items()}) == repr(
        {n: s[:7] for n, s in first.items()}
    )
    assert (
        again["a"].scaling is kinds["a"]
        and json.loads(kept.read_text())["file"]["size"] == path.stat().st_size
    )
    fresh(scalings=kinds, seed=1)  # another split
    fresh()  # other scalings
    assert len(calls) == 3
    fresh(scalings=kinds)  # still known
    assert len(calls) == 3
    ds["a"] = ds.a * 2
    write_dataset(ds, path)
    os.utime(path, ns=(1, 1))
    assert fresh(scalings=kinds)["a"].high == pytest.approx(2 * first["a"].high) and len(calls) == 4
    kept.write_text("{ not json")
    fresh(scalings=kinds)
    assert len(calls) == 5 and json.loads(kept.read_text())
    assert not list(tmp_path.glob("*.part"))


def test_a_cache_that_cannot_be_written_causes_one_warning_and_no_error(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    calls = counted(monkeypatch)
    write_dataset(waves(10, (8,), (True,)), path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fields.core.files.os.replace", refuse)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for _ in range(2):
            data = FieldDataModule(str(path))
            data.setup()
    assert len(calls) == 2 and data.statistics["a"].std > 0
    assert len([w for w in said if "computed again in every run" in str(w.message)]) == 1


def test_the_log_states_what_is_in_memory_and_what_is_streamed(tmp_path, caplog):
    write_dataset(waves(20, (8,), (True,)), tmp_path / "a.nc")
    with caplog.at_level("INFO", logger="fields"):
        FieldDataModule(str(tmp_path / "a.nc"), memory=200).setup()
    [line] = [
        record.getMessage() for record in caplog.records if record.name == "fields.data.datamodule"
    ]
    assert (
        "free: training 1.09 kB streamed from the file; validation 64 B held in memory; "
        "test 8 128 B held in memory." in line
    )


def test_available_memory_respects_the_limits_of_the_process():
    resource = pytest.importorskip("resource")
    free = available()
    assert 1e7 < free < 1e14
    old = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (used + 50_000_000, old[1]))
        assert 0 < available() <= 50_000_000
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, old)


def test_a_file_larger_than_memory_is_streamed(tmp_path, monkeypatch):
    ds = waves(6, (8,), (True,))
    # Half of it is half a byte too little.
    monkeypatch.setattr("fields.data.dataset.available", lambda: 2 * 4 * 6 * 8 * 2 - 1.0)
    assert not FieldDataset(ds, schema_of(ds)).in_memory
    monkeypatch.setattr("fields.data.dataset.available", lambda: 2 * 4 * 6 * 8 * 2 + 1.0)
    assert FieldDataset(ds, schema_of(ds)).in_memory


def test_a_file_replaced_by_one_of_equal_size_and_time_is_measured_again(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    calls = counted(monkeypatch)
    ds = waves(10, (8,), (True,))
    write_dataset(ds, path)
    before = path.stat()
    first = FieldDataModule(str(path))
    first.setup()
    write_dataset(ds.assign(u=(3 * ds.u).assign_attrs(ds.u.attrs)), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    second = FieldDataModule(str(path))
    second.setup()
    assert len(calls) == 2
    ratio = second.statistics["u"].std / first.statistics["u"].std
    np.testing.assert_allclose(ratio, 3, rtol=1e-6)
