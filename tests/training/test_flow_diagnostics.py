"""Diagnostics of the flow in the log: energies, entropies, rejected steps, step sizes."""

from __future__ import annotations

import lightning.pytorch as L
import pytest
import torch
from problems import waves

import fields
from fields.data.datamodule import FieldDataModule
from fields.encoders.windowed_moments import WindowedMoments
from fields.flows.metriplectic import Metriplectic
from fields.nn.graph.incidence import Coboundary
from fields.processors.transformer import Transformer
from fields.report.static import StaticReport
from fields.training.fit import fit
from fields.training.task import FieldTraining

QUICK = {
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "precision": "bf16-mixed",
}


def trained(folder, processor, epochs: int = 2) -> tuple[FieldTraining, FieldDataModule]:
    fields.write_dataset(waves(24, (16,), (True,)), folder / "waves.h5")
    L.seed_everything(0, verbose=False)
    task = FieldTraining(
        dim=32,
        encoder=lambda dim, schema: WindowedMoments(dim, schema, tokens=(4,)),
        processor=processor,
    )
    data = FieldDataModule(str(folder / "waves.h5"), batch_size=6)
    fit(task, data, folder / "run", max_epochs=epochs, **QUICK)
    return task, data


@pytest.mark.filterwarnings("ignore")
def test_the_law_is_in_the_log_of_every_epoch_and_in_the_report(tmp_path, monkeypatch):
    task, data = trained(tmp_path, Metriplectic)
    assert len(task.history) == 2
    for row in task.history:
        assert (
            row["energy"] > 0
            and row["energy_drift"] < 1e-5
            and row["entropy_gain"] > 0
            and row["rejected_steps"] == 0
        )
        assert 0 < row["step_min"] <= row["step_max"] < 4
    first, last = task.history
    assert (
        first["energy"] != last["energy"]
        and torch.tensor(last["energy"]).float().item() != last["energy"]
    )  # kept in double
    columns = StaticReport(data)
    columns.histories["field"] = task.history
    logged = columns.columns()["field"]
    assert logged["energy_drift"] == [row["energy_drift"] for row in task.history] and logged[
        "x"
    ] == [0, 1]
    monkeypatch.setattr(Coboundary, "down", lambda self, p: -(self.matrix.mT @ p))
    with torch.no_grad():
        assert (
            task.flow_diagnostics(next(iter(data.val_dataloader())))["energy_drift"] > 1e-3
        )  # a wrong sign shows


@pytest.mark.filterwarnings("ignore")
def test_processors_that_are_not_flows_log_only_the_error(tmp_path):
    task, _ = trained(tmp_path, Transformer, epochs=1)
    assert set(task.history[0]) == {"epoch", "seconds", "loss", "val_error"}
