"""`python -m fields verify` on real checkpoints."""

from __future__ import annotations

import json

import torch
from problems import operator, waves

import fields
from fields.cli import main
from fields.processors import GraphHamiltonian


def checkpoint(folder, processor=None):
    model = operator((True,), local=False)
    if processor is not None:
        model.processor = processor
        model._arguments["processor"] = processor
    fields.save(model, folder / "m.safetensors")
    fields.write_dataset(waves(4, (16,), (True,)), folder / "waves.h5")
    return [str(folder / "m.safetensors"), str(folder / "waves.h5")]


def test_a_graph_hamiltonian_gets_its_certificate(tmp_path, capsys):
    torch.manual_seed(0)
    words = checkpoint(tmp_path, GraphHamiltonian(32))
    assert main(["verify", *words, "--steps", "50", "--samples", "2", "--json"]) == 0
    certificate = json.loads(capsys.readouterr().out)
    assert certificate["verdict"] == "holds"
    assert {f["dtype"] for f in certificate["findings"]} == {"float64", "float32"}
    assert all(f["moved"] > 0.01 for f in certificate["findings"])


def test_a_transformer_claims_nothing(tmp_path, capsys):
    assert main(["verify", *checkpoint(tmp_path)]) == 0
    assert "no exact law is claimed" in capsys.readouterr().out
