"""`python -m fields verify` on real checkpoints."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from problems import operator, schema, waves

import fields
from fields import flows, processors
from fields.cli.main import main
from fields.core.sample import collate
from fields.data import FieldDataset
from fields.decoders.galerkin import Galerkin
from fields.dynamics.energies.energy_transformer import EnergyTransformer
from fields.flows.damped_hamiltonian import DampedHamiltonianField, EnergyGuardedStep
from fields.nn.graph.incidence import Coboundary

TRAINED = {
    "hamiltonian": flows.Hamiltonian,
    "energy transformer": partial(flows.Hamiltonian, energy=EnergyTransformer),
    "damped": partial(processors.Flow, field=DampedHamiltonianField, integrator=EnergyGuardedStep),
    "graph": flows.GraphHamiltonian,
    "metric": partial(flows.GraphHamiltonian, metric="frozen"),
    "double bracket": flows.DoubleBracket,
    "hybrid": partial(flows.DoubleBracket, gamma=0.5, learned=False, edges=3),
    "metriplectic": flows.Metriplectic,
    "grand": flows.Grand,
    "associative": flows.Associative,
    "isometry": flows.Isometry,
}


def checkpoint(folder, make=None, *, updates: int = 0, shake: float = 0.0, card=None, decoder=None):
    """Saves a model with this processor after some updates, and samples to verify it on."""
    ds = waves(4, (16,), (True,))
    fields.write_dataset(ds, folder / "waves.h5")
    model = operator((True,), skip=False)
    torch.manual_seed(0)
    for name, part in (("processor", make and make(32)), ("decoder", decoder)):
        if part is not None:
            setattr(model, name, part)
            model._arguments[name] = part
    train(model, ds, updates)
    with torch.no_grad():
        for p in model.processor.parameters():
            p += shake * torch.randn_like(p)
    fields.save(model, folder / "m.safetensors", card=card)
    return [str(folder / "m.safetensors"), str(folder / "waves.h5")]


def train(model, ds, updates: int) -> None:
    rows = FieldDataset(ds, model.schema)
    batch = collate([rows[i] for i in range(4)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(updates):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (model(batch) - batch.v).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def certify(words: list[str], capsys, status: int = 0) -> dict:
    assert main(["verify", *words, "--steps", "24", "--samples", "2", "--json"]) == status
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", TRAINED)
def test_trained_in_half_precision_then_perturbed_every_law_holds(name, tmp_path, capsys):
    certificate = certify(checkpoint(tmp_path, TRAINED[name], updates=3, shake=0.3), capsys)
    assert certificate["verdict"] == "holds", certificate
    assert {f["dtype"] for f in certificate["findings"]} == {"float64", "float32"}
    assert all(f["moved"] > 1e-3 for f in certificate["findings"])


@pytest.mark.parametrize("name", ["graph", "double bracket", "metriplectic", "metric"])
def test_an_operator_broken_on_purpose_is_status_one(name, tmp_path, capsys, monkeypatch):
    words = checkpoint(tmp_path, TRAINED[name], updates=1)
    monkeypatch.setattr(Coboundary, "down", lambda self, p: -(self.matrix.mT @ p))
    assert certify(words, capsys, status=1)["verdict"].startswith("BROKEN")
    assert main(["verify", *words, "--steps", "8"]) == 1
    assert "BROKEN" in capsys.readouterr().out


def test_the_energy_of_the_field_is_judged_where_the_decoder_shows_it(tmp_path, capsys):
    decoder = Galerkin(32, schema((True,)))
    words = checkpoint(tmp_path, flows.Isometry, updates=3, decoder=decoder)
    assert certify(words, capsys)["law"] == "the L2 energy of the decoded field is constant"
    assert (
        certify(checkpoint(tmp_path, flows.GraphHamiltonian, decoder=decoder), capsys)["law"]
        == "the energy is constant"
    )


@pytest.mark.parametrize("make", [None, processors.AttentionODE, processors.GAT])
def test_what_claims_nothing_says_so(make, tmp_path, capsys):
    assert main(["verify", *checkpoint(tmp_path, make)]) == 0
    assert "no exact law is claimed" in capsys.readouterr().out


def test_the_file_is_found_through_the_checkpoint(tmp_path, capsys):
    for protocol in (
        {"data": str(tmp_path / "waves.h5")},
        {"data": "gone.h5", "test_files": [str(tmp_path / "waves.h5")]},
    ):
        model, *_ = checkpoint(tmp_path, flows.Isometry, card={"protocol": protocol})
        assert certify([model], capsys)["samples"] == 2
    for card, sentence in (
        ({"protocol": {"data": "gone.h5"}}, "was tested on gone.h5, which does not exist here"),
        (None, "does not name the file"),
    ):
        model, *_ = checkpoint(tmp_path, card=card)
        assert main(["verify", model]) == 2
        assert sentence in capsys.readouterr().err
