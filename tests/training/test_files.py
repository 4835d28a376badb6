"""The configurations for files made by others train on files of the same form."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import fields
import train

ROOT = Path(__file__).parents[2]

_spec = importlib.util.spec_from_file_location(
    "layout_writers", ROOT / "tests" / "io" / "writers.py"
)
assert _spec is not None and _spec.loader is not None
writers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(writers)


def well(folder: Path) -> Path:
    for i, split in enumerate(("train", "valid", "test")):
        (folder / "well" / "data" / split).mkdir(parents=True)
        writers.the_well(
            folder / "well" / "data" / split / "part.hdf5", frames=10, trajectory=i, grid=(12, 16)
        )
    return folder / "well"


def burgers(folder: Path) -> Path:
    writers.pdebench_flat(
        folder / "1D_Burgers_Sols_Nu0.01.hdf5", kind="burgers", samples=24, frames=80, n=64
    )
    return folder / "1D_Burgers_Sols_Nu0.01.hdf5"


def darcy(folder: Path) -> Path:
    writers.pdebench_flat(
        folder / "2D_DarcyFlow_beta1.0_Train.hdf5", kind="darcy", samples=24, n=16
    )
    return folder / "2D_DarcyFlow_beta1.0_Train.hdf5"


def reaction(folder: Path) -> Path:
    writers.pdebench_groups(folder / "2D_diff-react_NA_NA.h5", samples=24, frames=16, nx=12, ny=12)
    return folder / "2D_diff-react_NA_NA.h5"


FILES = {
    "the_well": well,
    "pdebench_burgers": burgers,
    "pdebench_darcy": darcy,
    "pdebench_reaction": reaction,
}


def quick(folder: Path, name: str) -> list[str]:
    return [
        "--config",
        str(ROOT / "configs" / f"{name}.yaml"),
        "--model.dim=32",
        "--model.queries=32",
        f"--run.folder={folder}",
        "--run.name=r",
        "--run.baseline=false",
        "--data.batch_size=2",
        "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=2",
        "--trainer.enable_progress_bar=false",
        "--trainer.accelerator=cpu",
    ]


def test_every_configuration_for_files_is_run():
    assert {file.stem for file in (ROOT / "configs" / "files").glob("*.yaml")} == {*FILES}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_a_file_of_others_trains_and_predicts(name, tmp_path):
    path = FILES[name](tmp_path)
    train.main([*quick(tmp_path, f"files/{name}"), f"--data.path={path}"])
    rows = json.loads((tmp_path / "r" / "report.json").read_text())["rows"]
    assert any(row["model"] == "field" and np.isfinite(row["mean"]) for row in rows)
    model = fields.load(tmp_path / "r" / "model.safetensors")
    out = model.predict(fields.open_dataset(path).isel(sample=[0]))
    assert set(out.data_vars) == set(model.schema.outputs)
    assert all(np.isfinite(out[v]).all() and out[v].std() > 0 for v in out)


@pytest.mark.filterwarnings("ignore")
def test_small_burgers_trains_on_the_files_beside_the_repository(shared, tmp_path):
    files = [
        f"--data.path={shared / 'burgers_train_16.pt'}",
        f"--data.test_paths=[{shared / 'burgers_test_16.pt'}]",
    ]
    train.main(
        [*quick(tmp_path, "burgers16"), *files, "--data.samples=32", "--model.dim=1"]
    )  # its tokens are the field's values
    rows = json.loads((tmp_path / "r" / "report.json").read_text())["rows"]
    assert {row["model"] for row in rows} >= {"field", "persistence"}
