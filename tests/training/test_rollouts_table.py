"""`benchmarks/rollouts.py`: checkpoints of one problem, measured once, in one table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from problems import travelling

import fields
from benchmarks import rollouts
from fields.data import FieldDataset, schema_of
from fields.data.normalizer import Normalizer
from fields.data.statistics import dataset_statistics
from fields.decoders.cross_attention import CrossAttention
from fields.encoders.windowed_moments import WindowedMoments
from fields.flows.hamiltonian import Hamiltonian
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import Autoregressive, LatentFlow
from fields.processors.transformer import Transformer

DIM = 16


def checkpoint(path: Path, propagator: type, processor: type, seed: int) -> Path:
    data = FieldDataset(travelling(), schema_of(travelling()), horizon=4)
    torch.manual_seed(seed)
    model = EvolutionOperator(
        schema=data.schema,
        normalizer=Normalizer(data.schema, dataset_statistics(data)),
        dim=DIM,
        encoder=WindowedMoments(DIM, data.schema, tokens=(4,)),
        propagator=propagator(DIM, processor(DIM, depth=1)),
        decoder=CrossAttention(DIM, data.schema),
    )
    fields.save(
        model, path, card={"protocol": {"command": f"train {seed}", "seconds": {"field": 1.0}}}
    )
    return path


@pytest.mark.filterwarnings("ignore")
def test_the_table_has_a_row_per_model_and_measures_each_checkpoint_once(tmp_path, monkeypatch):
    for name, frames in (("train", 14), ("test", 42)):
        fields.write_dataset(travelling(6, frames), tmp_path / f"{name}.h5")
    flow = checkpoint(tmp_path / "flow", LatentFlow, Hamiltonian, 0)
    steps = [
        checkpoint(tmp_path / f"step{seed}", Autoregressive, Transformer, seed) for seed in (1, 2)
    ]
    words = ["--problem", "heat", "--samples", "5", f"--data.path={tmp_path / 'train.h5'}"]
    words += [f"--data.test_paths=[{tmp_path / 'test.h5'}]"]
    words += ["--folder", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    words += [f"hamiltonian={flow}", *(f"transformer={path}" for path in steps)]
    rollouts.main(words)
    text = (tmp_path / "out" / "rollouts_heat.md").read_text()
    head, _, hamiltonian, transformer, persistence = (
        line for line in text.splitlines() if line.startswith("|")
    )
    assert "| 4 (1×) | 8 (2×) | 16 (4×) | 40 (10×) |" in head
    assert "of 10" in transformer and "of 5" in hamiltonian
    assert "violated by at most" in hamiltonian and "none claimed" in transformer
    assert "±" in transformer and "±" not in persistence
    assert "`train 2`" in text
    figure = tmp_path / "out" / "rollouts_heat_error.png"
    assert figure.read_bytes()[:4] == b"\x89PNG"
    monkeypatch.setattr(rollouts, "latent_law", lambda *_: pytest.fail("measured again"))
    rollouts.main(words)
    with pytest.raises(SystemExit):
        rollouts.main([*words, "nothing=there"])
