"""Files made by others become training data: geometry as input, splits, symmetries that hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fields
import train
from datasets import prepare
from fields.data import schema_of

ROOT = Path(__file__).parents[2]

FILES = {
    "holed_poisson": "holed_poisson.h5",
    "diffusion_perlin": "diffusion_perlin_64.h5",
    "cylinder_wake": "cylinder_wake.h5",
    "navy_forecast": "navy_winds_1982_1989.nc",
    "navy_reconstruction": "navy_winds_1982_1989.nc",
}


@pytest.fixture(scope="module")
def prepared(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")

    def make(name: str) -> Path:
        if not (folder / f"{name}.h5").exists():
            prepare.main(
                [name, "--source", str(shared / FILES[name]), "--out", str(folder / f"{name}.h5")]
            )
        return folder / f"{name}.h5"

    return make


def test_the_holed_square_is_described_by_its_distances_and_areas(prepared):
    ds = fields.open_dataset(prepared("holed_poisson"))
    assert np.bincount(ds.split).tolist() == [24, 3, 64]  # 27 of 91 geometries train and select
    np.testing.assert_allclose(ds.area.sum("point"), 1 - 0.3**2, rtol=1e-5)
    boundary = (ds.wall.values < 1e-6) | (ds.hole.values < 1e-6)
    assert np.array_equal(boundary, ds.u.values == 0)
    assert 0 < ds.hole.values.max() < 1 and schema_of(ds).weight == "area"


def test_the_symmetries_of_the_square_hold_in_the_data(prepared):
    """Mirrored coefficients have mirrored solutions, to the error of the scheme behind them."""
    ds = fields.open_dataset(prepared("diffusion_perlin")).isel(sample=slice(0, 3))
    k = np.log(ds.k.values)
    u = ds.u.values
    assert [sorted(g) for g in json.loads(ds.attrs["symmetries"])] == [
        ["flip"],
        ["flip"],
        ["permute"],
    ]
    center = np.s_[:, 1:-1, 1:-1]
    h = 1 / (k.shape[1] - 1)

    def residual(k: np.ndarray, u: np.ndarray) -> float:
        gx, gy = (np.gradient(np.exp(k) * np.gradient(u, h, axis=a), h, axis=a) for a in (1, 2))
        return float(np.abs(gx + gy + 10)[center].mean())

    here = residual(k, u)
    assert abs(residual(k.swapaxes(1, 2), u.swapaxes(1, 2)) / here - 1) < 1e-5
    assert abs(residual(k[:, ::-1], u[:, ::-1]) / here - 1) < 1e-5
    assert residual(k[:, ::-1], u) > 1.5 * here


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_their_configurations_train(name, prepared, tmp_path):
    path = prepared(name)
    words = [
        "--config",
        str(ROOT / "configs" / f"{name}.yaml"),
        f"--data.path={path}",
        f"--run.folder={tmp_path}",
        "--run.name=r",
        "--data.stride=8",
        "--data.test_strides=[16]",
        "--model.dim=32",
        "--model.queries=40",
        "--model.seconds=null",
        "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=8",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.accelerator=cpu",
        "--run.bf16=false",
        "--run.baseline=false",
    ]
    train.main(words)
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    errors = {row["model"]: row["mean"] for row in report["rows"]}
    assert (
        min(error for model, error in errors.items() if model.startswith("field")) < 1.2
        and "mean field" in errors
    )


def pairs(sample, wanted: bool) -> set[tuple[float, float, float]]:
    """Places and times of what is asked for, or of what is given."""
    there = np.isfinite((sample.u if wanted else sample.u_seen).values)
    return set(
        zip(*(np.round(sample[a].values[there].astype(float), 4) for a in "xyt"), strict=True)
    )


def test_test_targets_of_the_wake_are_never_inputs(prepared):
    """Training uses seen points at every second time; the test has other points and times."""
    ds = fields.open_dataset(prepared("cylinder_wake"))
    trained, tested = (ds.isel(sample=np.flatnonzero(ds.split == code)) for code in (0, 2))
    windows = [trained.isel(sample=i) for i in (0, 89)]
    places = {p[:2] for w in windows for p in pairs(w, True) | pairs(w, False)}
    assert len(places) == 0.9 * 0.3 * 5000 and {p[2] for w in windows for p in pairs(w, True)} == {
        0,
        0.4,
        0.8,
        1.2,
        1.6,
        2.0,
    }
    assert not pairs(windows[0], True) & pairs(windows[0], False)
    for window in (
        *windows,
        ds.isel(sample=int(np.flatnonzero(ds.split == 1)[3])),
    ):  # of one frame inside nothing is given
        times = {p[2] for p in pairs(window, False)}
        assert len(times) == 5 and {0, 2.0} <= times
    for i in (0, 20, tested.sizes["sample"] - 1):
        given, wanted = (pairs(tested.isel(sample=i), asked) for asked in (False, True))
        assert (
            len({p[:2] for p in given}) == 1500
            and len({p[:2] for p in wanted}) == 5000
            and not given & wanted
        )
        assert all(p[:2] not in places for p in wanted if round(p[2] / 0.2) % 2 == 0)
    validation = ds.isel(sample=int(np.flatnonzero(ds.split == 1)[0]))
    assert not {p[:2] for p in pairs(validation, True)} & places


def test_the_climatology_excludes_the_predicted_month(prepared):
    ds = fields.open_dataset(prepared("navy_forecast"))
    assert np.bincount(ds.split).tolist() == [59, 12, 24]
    trivial = json.loads(ds.attrs["protocol"])["trivial"]
    tested = ds.isel(sample=slice(-24, None))
    error, size = (
        sum(np.square(f(n)).sum((1, 2)) for n in "uv")
        for f in (lambda n: (tested[f"{n}_season"] - tested[n]).values, lambda n: tested[n].values)
    )
    assert trivial["climatology"] == f"rel. L2 {np.sqrt(error / size).mean():.4f}"
    others = [
        i for i in range(0, 71) if i % 12 == 4 and i != 16
    ]  # months of the same name in the other five years
    np.testing.assert_allclose(ds.u_season[16], ds.u.values[others].mean(0), atol=1e-5)
    np.testing.assert_array_equal(ds.u_now[17], ds.u[16])
