"""Validate a file: read all of it once, in blocks of bounded size, and report what is wrong."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import xarray as xr

from fields.io.base import DataError
from fields.io.lazy import stored_array
from fields.io.opening import open_dataset
from fields.io.signatures import is_zip

# Bytes read at once.
BLOCK = 64 * 2**20

# Numbers that programs write where there is no value: those of netCDF, WMO, NCL and of habit.
FILL_VALUES = np.array(
    [
        *(-999, -9999, -99999, 9999, 99999, 999999, -32767, -32768),
        *(1e15, 1e20, -1e20, 1e30, -1e30, -1e34, 1e36, -1e36),
        *(9.969209968386869e36, -9.969209968386869e36),
    ]
)


class Finding(NamedTuple):
    """A defect of a file.

    Attributes:
        level: ``error`` (do not train on the file as it is) or ``warning``.
        where: the variable, sample or file concerned.
        message: what is wrong and what to do.

    Example:
        >>> Finding("warning", "units", "u has no units.").level
        'warning'
    """

    level: str
    where: str
    message: str


def validate(path: Path, mapping: Mapping[str, Any] | str | Path | None = None) -> list[Finding]:
    """All findings of a file; a file that cannot be opened has exactly one.

    Args:
        path: a data file, or the directory of a dataset.
        mapping: for a file of an unknown layout.
    """
    try:
        ds = open_dataset(path, mapping=mapping)
    except DataError as error:
        return [Finding("error", str(path), str(error))]
    if is_zip(path):
        with ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            message = f"The checksum of its member {damaged} is wrong. Download the file again."
            return [Finding("error", str(path), message)]
    findings = [*_attributes(ds), *_times(ds), *_units(ds)]
    for name, array in ds.data_vars.items():
        if array.ndim > 1:
            findings += _field(str(name), array, ds)
        elif not np.isfinite(array.values.astype(float)).all():
            findings.append(Finding("error", str(name), "Some parameter values are not finite."))
    return findings


def iter_blocks(array: xr.DataArray, sample: int) -> Iterator[np.ndarray]:
    """One sample in blocks of bounded size: consecutive frames, or all of a static field."""
    reader = stored_array(array)
    frames = array.sizes["time"] if "time" in array.dims else 1
    step = max(1, BLOCK * array.shape[0] * frames // max(array.nbytes, 1))
    for first in range(0, frames, step):
        key: list[Any] = [sample, *(slice(0, size) for size in array.shape[1:])]
        if "time" in array.dims:
            key[array.dims.index("time")] = slice(first, min(first + step, frames))
        yield np.asarray(array[tuple(key)].values) if reader is None else reader.read(tuple(key))


class _Scan:
    """What was found while reading one field: range, missing values, constant, repeated samples."""

    def __init__(self) -> None:
        self.low = np.inf
        self.high = -np.inf
        self.constant: list[int] = []
        self.repeated: list[tuple[int, int]] = []
        self.missing: list[tuple[int, tuple[int, ...]]] = []
        self.missing_patterns: set[bytes] = set()
        self.digests: dict[bytes, int] = {}
        self.fill_values: Counter[float] = Counter()

    def add_sample(
        self, index: int, blocks: Iterator[np.ndarray], padding: np.ndarray | None, *, timed: bool
    ) -> None:
        """Read one sample; ``padding`` is True at points that the sample does not have."""
        digest = hashlib.blake2b(digest_size=16)
        low = np.inf
        high = -np.inf
        first_frame = 0
        place = None
        for values in blocks:
            digest.update(np.ascontiguousarray(values).tobytes())
            bad = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
            good = ~bad
            if padding is not None:
                bad &= ~padding
                good &= ~padding
            if good.any():
                block_low = float(values[good].min())
                block_high = float(values[good].max())
                low = min(low, block_low)
                high = max(high, block_high)
                self._count_fill_values(values, {block_low, block_high})
            if bad.any() and place is None:
                place = tuple(int(i) for i in np.argwhere(bad)[0])
                place = (place[0] + first_frame, *place[1:]) if timed else place
            for frame in bad if timed else bad[None]:
                pattern = np.packbits(frame).tobytes()
                self.missing_patterns.add(hashlib.blake2b(pattern, digest_size=16).digest())
            first_frame += len(values) if timed else 0
        self._record(index, digest.digest(), low, high, place)

    def _count_fill_values(self, values: np.ndarray, extremes: set[float]) -> None:
        """Count the largest and the smallest value if they are fill values."""
        for value in extremes:
            if np.isclose(value, FILL_VALUES, rtol=1e-6, atol=0).any():
                self.fill_values[value] += int((values == value).sum())

    def _record(
        self, index: int, digest: bytes, low: float, high: float, place: tuple[int, ...] | None
    ) -> None:
        self.low = min(self.low, low)
        self.high = max(self.high, high)
        if low == high:
            self.constant.append(index)
        if place is not None:
            self.missing.append((index, place))
        if digest in self.digests:
            self.repeated.append((self.digests[digest], index))
        self.digests.setdefault(digest, index)


def _field(name: str, array: xr.DataArray, ds: xr.Dataset) -> list[Finding]:
    scan = _Scan()
    findings = []
    timed = "time" in array.dims
    for index in range(array.sizes["sample"]):
        where = f"{name}[{index}]"
        try:
            blocks = iter_blocks(array, index)
            scan.add_sample(index, blocks, _padding(ds, array, index), timed=timed)
            if timed and _ends_in_zeros(array, index):
                message = "The last frame but one is all zero, so the simulation probably failed."
                findings.append(Finding("error", where, message))
        except DataError as error:
            findings.append(Finding("error", where, str(error)))
    return findings + _judge(name, scan, array.sizes["sample"])


def _ends_in_zeros(array: xr.DataArray, index: int) -> bool:
    if array.sizes["time"] <= 2:
        return False
    return not array[index, -2].values.any() and bool(array[index, 0].values.any())


def _padding(ds: xr.Dataset, array: xr.DataArray, index: int) -> np.ndarray | None:
    """Where a sample has no point, because another sample has more."""
    names = [name for name in ds.coords if ds[name].dims == ("sample", "point")]
    if "point" not in array.dims or not names:
        return None
    return np.isnan(ds[names[0]][index].values.astype(float))


def _judge(name: str, scan: _Scan, samples: int) -> list[Finding]:
    findings = []
    if scan.missing and len(scan.missing_patterns) == 1:
        message = "The same points have no value in every sample and frame (land, a hole)."
        findings.append(Finding("warning", name, message))
    elif scan.missing:
        sample, place = scan.missing[0]
        message = (
            f"Values are not finite at sample {sample}, index {place}, and in "
            f"{len(scan.missing)} of {samples} samples. Remove these samples."
        )
        findings.append(Finding("error", name, message))
    if scan.low == scan.high:
        message = f"All values are {scan.low}, so the variance is 0 and there is nothing to learn."
        findings.append(Finding("error", name, message))
    elif scan.constant:
        findings.append(Finding("warning", name, f"Constant in {_list(scan.constant)}."))
    for value, count in scan.fill_values.items():
        if count > 1:
            message = (
                f"{count} values are {value:.6g}, which programs write where there is no value, "
                "but the file does not declare it. If so, replace them by NaN, or declare it in "
                "the attribute _FillValue of a netCDF file."
            )
            findings.append(Finding("warning", name, message))
    if scan.repeated and scan.low != scan.high:
        pairs = ", ".join(f"{a} and {b}" for a, b in scan.repeated[:3])
        message = (
            f"{len(scan.repeated)} samples are copies of an earlier one (first: {pairs}), so the "
            "test split may contain training samples."
        )
        findings.append(Finding("warning", name, message))
    return findings


def _list(indices: list[int]) -> str:
    shown = ", ".join(map(str, indices[:5]))
    return f"{len(indices)} samples: {shown}{' …' if len(indices) > 5 else ''}"


def _attributes(ds: xr.Dataset) -> Iterator[Finding]:
    space = [
        name
        for name in ds.coords
        if ds[name].dims in ((name,), ("point",), ("sample", "point")) and name != "time"
    ]
    unknown = [
        str(name) for name in space if ds[name].dims == (name,) and "periodic" not in ds[name].attrs
    ]
    if unknown:
        message = (
            f"The file does not say whether {', '.join(unknown)} is periodic. Open it with "
            "`periodic=True` or `periodic=False`."
        )
        yield Finding("warning", "coordinates", message)
    bare = [str(name) for name in (*ds.data_vars, *space) if not ds[name].attrs.get("units")]
    if bare:
        yield Finding("warning", "units", f"No units for {', '.join(bare)}.")
    if ds.attrs.get("left_out"):
        yield Finding("warning", "content", f"Not read: {ds.attrs['left_out']}.")
    if not any(v.attrs["role"] in ("output", "state") for v in ds.data_vars.values()):
        message = "No variable has the role output or state. Assign one with `roles`."
        yield Finding("error", "roles", message)


def _times(ds: xr.Dataset) -> Iterator[Finding]:
    if "time" not in ds.coords:
        if "time" in ds.sizes:
            message = f"The file has {ds.sizes['time']} frames, but not their times."
            yield Finding("error", "time", message)
        return
    steps = np.diff(ds["time"].values.astype(float))
    if len(steps) and not np.allclose(steps, steps[0], rtol=1e-3):
        message = (
            f"Time steps differ, from {steps.min():.4g} to {steps.max():.4g}. A model with one "
            "time step expects equal ones."
        )
        yield Finding("warning", "time", message)
    if len(steps) and steps[0] < 0:
        yield Finding("error", "time", "Time runs backwards. Reverse the time axis.")
    if "sample_time" in ds.coords:
        message = "Times differ between samples; `time` has those of the first sample."
        yield Finding("warning", "time", message)


def _units(ds: xr.Dataset) -> Iterator[Finding]:
    """Components of one vector in different units; negative temperatures in kelvin."""
    units_of: dict[str, dict[str, str]] = {}
    for name, array in ds.data_vars.items():
        units = array.attrs.get("units", "")
        if units and not isinstance(units, str):
            yield Finding("error", str(name), f"Its units {units!r} are not text.")
            continue
        stem = str(name).rsplit("_", 1)[0] if "_" in str(name) else ""
        if stem:
            units_of.setdefault(stem, {})[str(name)] = units
        kelvin = units.lower() in ("k", "kelvin")
        if kelvin and array.ndim and float(array.isel(sample=0).min()) < 0:
            yield Finding("error", str(name), "Some values are negative, but the unit is kelvin.")
    for members in units_of.values():
        if len(set(members.values())) > 1:
            message = f"The components have different units: {sorted(set(members.values()))}."
            yield Finding("error", ", ".join(members), message)
