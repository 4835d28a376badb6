"""Monthly winds of eight years over the globe: forecast by a month, and reconstruction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xarray as xr

import fields

# months: five years train, the sixth selects the weights, two are the test
YEAR = 12
HELD = 60
TRAINED = 72
TESTED = 24
WINDS = {"u": ("UWND", "zonal wind"), "v": ("VWND", "meridional wind")}


def navy_forecast(source: Path, seed: int) -> xr.Dataset:
    """Monthly mean winds (US Navy analysis, 1982–1989, 2.5°), one month ahead.

    This month's winds and next month's climatology ↦ next month's winds. Months 2–60 train, the
    sixth year selects the weights, the last two years are the test.

    The climatology of a month of the year is its mean over the first six years without the year
    that is asked for.
    """
    winds, axes = _winds(source)
    season = np.stack([_climatology(winds, month) for month in range(len(winds))])
    now = slice(0, -1)
    later = slice(1, None)
    ds = _dataset(
        axes, {"now": winds[now], "season": season[later]}, winds[later], season[later], winds[now]
    )
    return ds.assign_coords(split=("sample", _split(np.arange(1, len(winds)))))


def navy_reconstruction(source: Path, seed: int) -> xr.Dataset:
    """Monthly mean winds (US Navy analysis, 1982–1989, 2.5°) from 10 % of their points.

    Winds at these points (`data.sensors`) and the month of the year ↦ winds everywhere. Five years
    train, the sixth selects the weights, two years are the test.
    """
    winds, axes = _winds(source)
    season = np.stack([_climatology(winds, month) for month in range(len(winds))])
    ds = _dataset(axes, {"seen": winds}, winds, season, np.roll(winds, 1, axis=0))
    turn = 2 * np.pi * np.arange(len(winds)) / YEAR
    ds = ds.assign(
        {
            n: ("sample", f(turn), {"role": "parameter"})
            for n, f in (("winter", np.cos), ("spring", np.sin))
        }
    )
    return ds.assign_coords(split=("sample", _split(np.arange(len(winds)))))


def _winds(source: Path) -> tuple[np.ndarray, dict[str, xr.Variable]]:
    """(month, longitude, latitude, 2) and the axes, longitude around the globe."""
    ds = fields.open_dataset(source)
    winds = np.stack(
        [ds[name].isel(sample=0).transpose("time", "FNOCX", "FNOCY") for name, _ in WINDS.values()],
        axis=-1,
    )
    east = ds["FNOCX"].values
    north = ds["FNOCY"].values
    circle = {
        "units": "degrees_east",
        "periodic": 1,
        "bounds": (float(east[0]), float(east[0]) + 360),
    }
    poles = {"units": "degrees_north", "bounds": (float(north[0]), float(north[-1]))}
    return winds.astype("f8"), {
        "lon": xr.Variable("lon", east, circle),
        "lat": xr.Variable("lat", north, poles),
    }


def _climatology(winds: np.ndarray, month: int) -> np.ndarray:
    years = np.arange(month % YEAR, TRAINED, YEAR)
    return winds[years[years != month]].mean(0)


def _split(months: np.ndarray) -> np.ndarray:
    return np.digitize(months, [HELD, TRAINED]).astype(np.int8)


def _dataset(
    axes: dict[str, xr.Variable],
    given: dict[str, np.ndarray],
    wanted: np.ndarray,
    season: np.ndarray,
    before: np.ndarray,
) -> xr.Dataset:
    """Inputs and outputs by component, with the test errors of climatology and the month before."""
    data = {}
    for c, (name, (_, long_name)) in enumerate(WINDS.items()):
        more = {"units": "m/s", "long_name": long_name}
        data[name] = (("sample", *axes), wanted[..., c].astype("f4"), {"role": "output", **more})
        for key, values in given.items():
            data[f"{name}_{key}"] = (
                ("sample", *axes),
                values[..., c].astype("f4"),
                {"role": "input", **more},
            )
    size = np.linalg.norm(wanted[-TESTED:].reshape(TESTED, -1), axis=1)
    guesses = {"climatology": season, "the month before": before}
    off = {
        name: np.linalg.norm((guess - wanted)[-TESTED:].reshape(TESTED, -1), axis=1)
        for name, guess in guesses.items()
    }
    trivial = {name: f"rel. L2 {(errors / size).mean():.4f}" for name, errors in off.items()}
    return xr.Dataset(data, coords=axes, attrs={"trivial": json.dumps(trivial)})
