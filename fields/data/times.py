"""Times as numbers: dates become durations from the first frame, and times must ascend."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from fields.io.base import DataError

# Seconds in the units of time that dates are converted to.
SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}

NAMES = ("time", "sample_time")


def with_numeric_times(ds: xr.Dataset, unit: str | None = "s") -> xr.Dataset:
    """The dataset with dates (datetime64 or cftime) and durations as numbers; others unchanged.

        t ↦ (t − t₀) / unit,    t₀ the first date of the axis ``time``

    The attribute ``reference`` of ``time`` keeps t₀ and ``units`` the unit.

    Args:
        ds: the dataset.
        unit: unit of the numbers, such as ``s``, ``h`` or ``days since 1950-01-01``.

    Raises:
        DataError: a date is missing, or the unit is not one of time.

    Example:
        >>> dates = np.array(["2000-01-01T00", "2000-01-01T06"], "datetime64[ns]")
        >>> ds = with_numeric_times(xr.Dataset(coords={"time": dates}), "h")
        >>> ds["time"].values.tolist(), ds["time"].attrs["reference"]
        ([0.0, 6.0], '2000-01-01T00:00:00')
    """
    dated = [name for name in NAMES if name in ds.variables and ds[name].dtype.kind in "OMm"]
    if not dated:
        return ds
    word = (unit or "").split(" since ")[0].strip().lower()
    if word not in SECONDS:
        raise DataError(
            f"The times are dates, and the unit of the model's times is {unit or 'not stated'}, "
            f"which dates cannot be converted to. Give `time` as numbers, or use one of the units "
            f"{', '.join(SECONDS)}."
        )
    start = ds["time"].values.reshape(-1)[0]
    converted = {}
    for name in dated:
        variable = ds[name].variable
        attrs = {**variable.attrs, "units": word} | _reference(start)
        seconds = _seconds(name, variable.values, start)
        converted[name] = (variable.dims, seconds / SECONDS[word], attrs)
    return ds.assign_coords(converted)


def check_times(ds: xr.Dataset) -> None:
    """Refuse times that are not finite or do not ascend.

    The times of a sample may end early: ``sample_time`` is NaN from there on.

    Raises:
        DataError: the message names the place.
    """
    for name in NAMES:
        if name not in ds.variables or not ds[name].ndim:
            continue
        values = np.atleast_2d(np.asarray(ds[name].values, dtype=np.float64))
        for sample, row in enumerate(values):
            where = f" of sample {sample}" if name == "sample_time" else ""
            known = np.isfinite(row)
            count = int(known.sum())
            ended = name == "sample_time" and known[:count].all() and np.isnan(row[count:]).all()
            if count < len(row) and not ended:
                frame = int(np.argmin(known))
                raise DataError(
                    f"The coordinate `{name}`{where} is {row[frame]} at frame {frame}. Every frame "
                    "needs a time; drop the frames without one."
                )
            wrong = np.flatnonzero(~(np.diff(row[:count]) > 0))
            if len(wrong):
                frame = int(wrong[0])
                raise DataError(
                    f"The coordinate `{name}`{where} does not ascend: frame {frame} is at "
                    f"{row[frame]:.10g} and frame {frame + 1} at {row[frame + 1]:.10g}. Sort the "
                    "frames by time and drop repeated ones."
                )


def _seconds(name: str, values: np.ndarray, start: Any) -> np.ndarray:
    """Seconds since ``start``; durations are taken as they are."""
    if values.dtype.kind == "m":
        differences = values
    else:
        try:
            differences = values - start
        except TypeError as error:
            raise DataError(
                f"The coordinate `{name}` has values such as {start!r}, which are neither numbers "
                "nor dates. Replace them by numbers."
            ) from error
    if differences.dtype.kind == "m":
        missing = np.isnat(differences)
        seconds = differences / np.timedelta64(1, "ns") / 1e9
    else:
        try:
            seconds = np.vectorize(_total_seconds, otypes=[float])(differences)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"The coordinate `{name}` has values such as {start!r}, which are neither numbers "
                "nor dates. Replace them by numbers."
            ) from error
        missing = np.isnan(seconds)
    if missing.any() and name == "time":
        raise DataError(
            f"The coordinate `{name}` has no date at frame {int(np.argmax(missing))}. Drop the "
            "frames without a date."
        )
    return np.where(missing, np.nan, seconds)


def _total_seconds(difference: Any) -> float:
    """Seconds of a `datetime.timedelta`; a plain number is one already."""
    return difference.total_seconds() if hasattr(difference, "total_seconds") else float(difference)


def _reference(start: Any) -> dict[str, str]:
    """The attribute that keeps the first date; durations have none."""
    if isinstance(start, np.datetime64):
        return {"reference": str(start.astype("datetime64[s]"))}
    return {"reference": start.isoformat()} if hasattr(start, "isoformat") else {}
