"""`fields verify NAME` works for every shipped model, with the inputs in its checkpoint."""

import json

import pytest
import torch
import xarray as xr

import fields
from fields.checkpoints.checkpoint import pretrained_files
from fields.cli.main import main
from fields.processors.stack import Stack

NAMES = [path.stem for path in pretrained_files()]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_is_verified_without_a_data_file(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["verify", name, "--samples", "2", "--steps", "8", "--json"]) == 0
    certificate = json.loads(capsys.readouterr().out)
    claims = certificate["verdict"] == "holds"
    assert claims or certificate["verdict"] == "no exact law is claimed"
    model = fields.load(name)
    assert claims == (isinstance(model.processor, Stack) and model.processor.law.name != "NONE")
    if claims and model.schema.dt is not None:
        measured = max(map(int, model.card["scores"][0]["error"]))
        assert certificate["frames"] >= measured


@pytest.mark.parametrize("name", NAMES)
def test_the_inputs_are_few_and_the_model_answers_them(name):
    model = fields.load(name)
    inputs = model.examples
    assert 2 <= inputs.sizes["sample"] <= 8 and inputs.nbytes < 2e5
    if name in ("burgers", "heat", "darcy16"):
        answer = model.predict(inputs.isel(sample=slice(0, 1)))
        assert bool(answer[model.schema.outputs[0]].notnull().all())


def test_inputs_survive_a_copy_of_the_model_and_weights_stay(tmp_path):
    model = fields.load("heat")
    fields.save(model, tmp_path / "copy.safetensors", card=model.card)
    copy = fields.load(tmp_path / "copy.safetensors")
    xr.testing.assert_identical(copy.examples, model.examples)
    for a, b in zip(copy.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
