"""Files made by others become training data: geometry as input, splits, symmetries that hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import fields
from datasets import prepare
from fields.data import schema_of

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
import train  # noqa: E402

FILES = {"holed_poisson": "holed_poisson.h5", "diffusion_perlin": "diffusion_perlin_64.h5"}


@pytest.fixture
def prepared(shared, tmp_path):
    def make(name: str) -> Path:
        prepare.main([name, "--source", str(shared / FILES[name]), "--out", str(tmp_path / f"{name}.h5")])
        return tmp_path / f"{name}.h5"

    return make


def test_the_holed_square_is_described_by_its_distances_and_areas(prepared):
    ds = fields.open_dataset(prepared("holed_poisson"))
    assert np.bincount(ds.split).tolist() == [24, 3, 64]  # 27 of 91 geometries train and select
    np.testing.assert_allclose(ds.area.sum("point"), 1 - 0.3**2, rtol=1e-5)
    boundary = (ds.wall.values < 1e-6) | (ds.hole.values < 1e-6)
    assert np.array_equal(boundary, ds.u.values == 0)
    assert 0 < ds.hole.values.max() < 1 and schema_of(ds).weight == "area"


def test_the_symmetries_of_the_square_hold_in_the_data(prepared):
    """Mirrored coefficients have mirrored solutions, to the error of the scheme they were made with."""
    ds = fields.open_dataset(prepared("diffusion_perlin")).isel(sample=slice(0, 3))
    k, u = np.log(ds.k.values), ds.u.values
    assert [sorted(g) for g in json.loads(ds.attrs["symmetries"])] == [["flip"], ["flip"], ["permute"]]
    centre = np.s_[:, 1:-1, 1:-1]
    h = 1 / (k.shape[1] - 1)

    def residual(k: np.ndarray, u: np.ndarray) -> float:
        gx, gy = (np.gradient(np.exp(k) * np.gradient(u, h, axis=a), h, axis=a) for a in (1, 2))
        return float(np.abs(gx + gy + 10)[centre].mean())

    here = residual(k, u)
    assert abs(residual(k.swapaxes(1, 2), u.swapaxes(1, 2)) / here - 1) < 1e-5
    assert abs(residual(k[:, ::-1], u[:, ::-1]) / here - 1) < 1e-5
    assert residual(k[:, ::-1], u) > 1.5 * here


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_their_configurations_train(name, prepared, tmp_path):
    path = prepared(name)
    words = [
        "--config", str(ROOT / "configs" / f"{name}.yaml"), f"--data.path={path}", f"--run.folder={tmp_path}", "--run.name=r",
        "--data.stride=8", "--data.test_strides=[16]", "--model.dim=32", "--model.queries=40", "--model.seconds=null",
        "--trainer.max_epochs=1", "--trainer.limit_train_batches=8", "--trainer.check_val_every_n_epoch=1",
        "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--run.bf16=false", "--run.baseline=false",
    ]  # fmt: skip
    train.main(words)
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    errors = {row["model"]: row["mean"] for row in report["rows"]}
    assert errors["field, 8 symmetries"] < 1.0 and {"field", "mean field"} <= set(errors)
