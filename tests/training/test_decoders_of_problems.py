"""Decoders are exchanged by one line of YAML, on every problem; fitted ones get the data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from problems import schema, waves

import fields
from fields.core.sample import collate
from fields.data.datamodule import FieldDataModule
from fields.decoders.pca import PCA
from fields.encoders.windowed_moments import WindowedMoments
from fields.training.fit import fit
from fields.training.settings import settings_parser
from fields.training.task import FieldTraining

ROOT = Path(__file__).parents[2]

DECODERS = sorted((ROOT / "configs" / "decoder").glob("*.yaml"))
PROBLEMS = [
    file
    for file in sorted((ROOT / "configs").glob("*.yaml"))
    if file.stem not in ("base", "klein_gordon")
]


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda p: p.stem)
def test_every_decoder_takes_the_skip_path_of_every_problem(decoder):
    chosen = yaml.safe_load(decoder.read_text())["model"]["decoder"]
    assert set(chosen.get("init_args", {})) <= {
        "nearest"
    }  # a name, and at most what makes it this decoder
    parser = settings_parser()
    for file in PROBLEMS:
        settings = parser.parse_args(["--config", str(file), "--config", str(decoder)])
        model = parser.instantiate(settings).model
        axes = len(yaml.safe_load(file.read_text())["tokens"])
        made = model.decoder(32, schema((False,) * axes))
        local = model.skip and model.skip(axes)
        assert type(made).__name__ == chosen["class_path"].split(".")[-1]
        y = torch.rand(1, 5, axes) - 0.5
        features = 0 if local is None else local.features
        latent = fields.Latent(
            torch.randn(2, 12, 32), torch.rand(1, 12, axes) - 0.5, torch.tensor((False,) * axes)
        )
        near = torch.randn(2, 5, features) if features else None
        assert made(latent, y, None, near).shape == (2, 5, 1), file.stem


def test_training_gives_the_decoder_the_outputs_of_the_training_split(tmp_path):
    fields.write_dataset(waves(24, (16,), (True,)), tmp_path / "waves.h5")
    data = FieldDataModule(str(tmp_path / "waves.h5"), batch_size=8)
    task = FieldTraining(
        dim=32,
        encoder=lambda dim, schema: WindowedMoments(dim, schema, tokens=(4,)),
        decoder=PCA,
        queries=8,
    )
    fit(
        task,
        data,
        tmp_path / "run",
        max_steps=2,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    basis = task.model.decoder.basis
    every = collate([data.train[i] for i in range(len(data.train))])
    rows = task.model.normalizer.normalized(every.v[:, 0], every.params).flatten(1)
    torch.testing.assert_close(basis.mean, rows.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(basis(basis.coefficients(rows)), rows, atol=1e-3, rtol=0)
