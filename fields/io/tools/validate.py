"""Reads a whole file once, in pieces of bounded size, and says what is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import xarray as xr

from fields.io import open_dataset
from fields.io.base import DataError
from fields.io.diagnose import is_zip
from fields.io.lazy import stored_array

BLOCK = 64 * 2**20  # bytes read at once


class Finding(NamedTuple):
    """Something wrong (``error``: do not train on it as it is) or missing (``warning``)."""

    level: str
    where: str
    message: str


def validate(path: Path, mapping: Mapping[str, Any] | str | Path | None = None) -> list[Finding]:
    """All findings; a file that cannot be opened at all is one."""
    try:
        ds = open_dataset(path, mapping=mapping)
    except DataError as error:
        return [Finding("error", str(path), str(error))]
    if is_zip(path) and (part := ZipFile(path).testzip()):
        return [
            Finding(
                "error",
                str(path),
                f"The checksum of its part {part} is wrong: it is damaged. Get it again.",
            )
        ]
    findings = [*_attributes(ds), *_times(ds), *_units(ds)]
    for name, array in ds.data_vars.items():
        if array.ndim > 1:
            findings += _field(str(name), array, ds)
        elif not np.isfinite(array.values.astype(float)).all():
            findings.append(
                Finding("error", str(name), "The parameter has values that are not finite.")
            )
    return findings


def iter_blocks(array: xr.DataArray, sample: int) -> Iterator[np.ndarray]:
    """One sample in pieces of bounded size: runs of frames if it has a time axis, else as a whole."""
    reader = stored_array(array)
    frames = array.sizes["time"] if "time" in array.dims else 1
    step = max(1, BLOCK * array.shape[0] * frames // max(array.nbytes, 1))
    for first in range(0, frames, step):
        key: list[Any] = [sample, *(slice(0, size) for size in array.shape[1:])]
        if "time" in array.dims:
            key[array.dims.index("time")] = slice(first, min(first + step, frames))
        yield np.asarray(array[tuple(key)].values) if reader is None else reader.read(tuple(key))


class _Scan:
    """What has been seen of one field: range, places that are not finite, constant and repeated samples."""

    def __init__(self) -> None:
        self.low, self.high, self.last_zero = np.inf, -np.inf, False
        self.constant: list[int] = []
        self.twins: list[tuple[int, int]] = []
        self.infinite: list[tuple[int, tuple[int, ...]]] = []
        self.masks: set[bytes] = set()
        self.digests: dict[bytes, int] = {}

    def sample(
        self, index: int, pieces: Iterator[np.ndarray], padding: np.ndarray | None, *, timed: bool
    ) -> None:
        """Takes in one sample; ``padding`` is True at points that do not exist."""
        digest, low, high, first, place = hashlib.blake2b(digest_size=16), np.inf, -np.inf, 0, None
        for values in pieces:
            digest.update(np.ascontiguousarray(values).tobytes())
            bad = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
            good = ~bad
            if padding is not None:
                bad, good = bad & ~padding, good & ~padding
            if good.any():
                low, high = (
                    min(low, float(values[good].min())),
                    max(high, float(values[good].max())),
                )
            if bad.any() and place is None:
                place = tuple(int(i) for i in np.argwhere(bad)[0])
                place = (place[0] + first, *place[1:]) if timed else place
            for frame in bad if timed else bad[None]:
                self.masks.add(
                    hashlib.blake2b(np.packbits(frame).tobytes(), digest_size=16).digest()
                )
            first += len(values) if timed else 0
        self.low, self.high = min(self.low, low), max(self.high, high)
        if low == high:
            self.constant.append(index)
        if place is not None:
            self.infinite.append((index, place))
        if digest.digest() in self.digests:
            self.twins.append((self.digests[digest.digest()], index))
        self.digests.setdefault(digest.digest(), index)


def _field(name: str, array: xr.DataArray, ds: xr.Dataset) -> list[Finding]:
    scan, findings, timed = _Scan(), [], "time" in array.dims
    for index in range(array.sizes["sample"]):
        try:
            scan.sample(index, iter_blocks(array, index), _padding(ds, array, index), timed=timed)
            if (
                timed
                and array.sizes["time"] > 2
                and not array[index, -2].values.any()
                and array[index, 0].values.any()
            ):
                findings.append(
                    Finding(
                        "error",
                        f"{name}[{index}]",
                        "The last frame but one is all zero: a failed run.",
                    )
                )
        except DataError as error:
            findings.append(Finding("error", f"{name}[{index}]", str(error)))
    return findings + _judge(name, scan, array.sizes["sample"])


def _padding(ds: xr.Dataset, array: xr.DataArray, index: int) -> np.ndarray | None:
    """Points of a sample that do not exist, because another sample has more."""
    names = [name for name in ds.coords if ds[name].dims == ("sample", "point")]
    if "point" not in array.dims or not names:
        return None
    return np.isnan(ds[names[0]][index].values.astype(float))


def _judge(name: str, scan: _Scan, samples: int) -> list[Finding]:
    findings = []
    if scan.infinite and len(scan.masks) == 1:
        findings.append(
            Finding(
                "warning",
                name,
                "The same points have no value in every sample and frame (land, a hole).",
            )
        )
    elif scan.infinite:
        (sample, place), count = scan.infinite[0], len(scan.infinite)
        message = f"Not finite at sample {sample}, index {place}, and in {count} of {samples} samples. Leave them out."
        findings.append(Finding("error", name, message))
    if scan.low == scan.high:
        findings.append(
            Finding(
                "error",
                name,
                f"All values are {scan.low}: nothing can be learned, and its variance is 0.",
            )
        )
    elif scan.constant:
        findings.append(Finding("warning", name, f"Constant in {_list(scan.constant)}."))
    if scan.twins and scan.low != scan.high:
        pairs = ", ".join(f"{a} and {b}" for a, b in scan.twins[:3])
        message = f"{len(scan.twins)} samples repeat an earlier one (first: {pairs}): a test sample may be a training sample."
        findings.append(Finding("warning", name, message))
    return findings


def _list(indices: list[int]) -> str:
    return f"{len(indices)} samples: {', '.join(map(str, indices[:5]))}{' …' if len(indices) > 5 else ''}"


def _attributes(ds: xr.Dataset) -> Iterator[Finding]:
    space = [
        name
        for name in ds.coords
        if ds[name].dims in ((name,), ("point",), ("sample", "point")) and name != "time"
    ]
    unknown = [
        name for name in space if ds[name].dims == (name,) and "periodic" not in ds[name].attrs
    ]
    if unknown:
        message = f"It is not said whether {', '.join(map(str, unknown))} is periodic. Open with `periodic=True` or `False`."
        yield Finding("warning", "coordinates", message)
    bare = [str(name) for name in (*ds.data_vars, *space) if not ds[name].attrs.get("units")]
    if bare:
        yield Finding("warning", "units", f"No units for {', '.join(bare)}.")
    if not any(v.attrs["role"] in ("output", "state") for v in ds.data_vars.values()):
        yield Finding(
            "error",
            "roles",
            "No variable is wanted (role output or state). Say which with `roles`.",
        )


def _times(ds: xr.Dataset) -> Iterator[Finding]:
    if "time" not in ds.coords:
        if "time" in ds.sizes:
            yield Finding(
                "error", "time", f"{ds.sizes['time']} frames, but their times are not stored."
            )
        return
    steps = np.diff(ds["time"].values.astype(float))
    if len(steps) and not np.allclose(steps, steps[0], rtol=1e-3):
        message = f"Time steps differ, from {steps.min():.4g} to {steps.max():.4g}; a model with one time step expects equal."
        yield Finding("warning", "time", message)
    if len(steps) and steps[0] < 0:
        yield Finding("error", "time", "Time runs backwards. Reverse the time axis.")
    if "sample_time" in ds.coords:
        yield Finding(
            "warning",
            "time",
            "Times differ from sample to sample; `time` holds the first sample's.",
        )


def _units(ds: xr.Dataset) -> Iterator[Finding]:
    """Components of one vector in different units; temperatures that cannot be."""
    stems: dict[str, dict[str, str]] = {}
    for name, array in ds.data_vars.items():
        units = array.attrs.get("units", "")
        if units and not isinstance(units, str):
            yield Finding("error", str(name), f"Its units are {units!r}, which is no text.")
            continue
        stem = str(name).rsplit("_", 1)[0] if "_" in str(name) else ""
        if stem:
            stems.setdefault(stem, {})[str(name)] = units
        if (
            units.lower() in ("k", "kelvin")
            and array.ndim
            and float(array.isel(sample=0).min()) < 0
        ):
            yield Finding("error", str(name), "Negative, although its unit is kelvin.")
    for members in stems.values():
        if len(set(members.values())) > 1:
            yield Finding(
                "error",
                ", ".join(members),
                f"Components in different units: {sorted(set(members.values()))}.",
            )
