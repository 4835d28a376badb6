"""Settings of version 0.1: its YAML files and options give the settings that they gave then."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from problems import schema

from fields.core.moved_names import MOVED
from fields.training.old_settings import current_settings, current_words
from fields.training.settings import settings_parser

ROOT = Path(__file__).parents[2]

# Configurations of version 0.1, as they were written then.
KLEIN_GORDON = """
run: {name: klein_gordon_hamiltonian}
data: {path: data/klein_gordon.h5, horizon: 1, batch_size: 64}
model:
  dim: 2
  local: null
  encoder:
    class_path: fields.encoders.Trigonometric
    init_args: {tokens: [32]}
  processor:
    class_path: fields.processors.Flow
    init_args:
      depth: 1
      steps: 8
      h: 0.125
      field:
        class_path: fields.dynamics.CanonicalHamiltonian
        init_args:
          inverse_mass: 0.3
          energy:
            class_path: fields.dynamics.DensityEnergy
            init_args: {tokens: [32], quartic: 0.1, reach: 3}
      integrator: fields.integrators.KineticProjection
  decoder:
    class_path: fields.decoders.Trigonometric
    init_args: {tokens: [32]}
  propagator: fields.evolution.FlowInTime
  objective: {consistency: 0.0, reconstruction: 0.0}
  seconds: 300
  optimizer:
    class_path: torch.optim.AdamW
    init_args: {lr: 0.02, betas: [0.9, 0.99], weight_decay: 0.0}
trainer: {max_epochs: 200, gradient_clip_val: 1.0}
"""
BURGERS = """
run: {name: burgers}
data: {path: data/burgers.h5, stride: 4, test_strides: [4, 2, 1], batch_size: 32}
model:
  dim: 128
  encoder:
    class_path: fields.encoders.Patches
    init_args: {tokens: [16], moments: 16}
  processor:
    class_path: fields.processors.Transformer
    init_args: {depth: 2, lengths: [0.06, 0.5]}
  decoder:
    class_path: fields.decoders.CrossAttention
    init_args: {near: 6, lengths: [0.03, 0.25]}
  local:
    class_path: fields.nn.local.LocalMoments
    init_args: {lengths: [0.01, 0.02, 0.04]}
  queries: 32
  optimizer:
    class_path: fields.optim.MuonAdamW
    init_args: {lr: 0.02, adamw_lr: 0.002, weight_decay: 0.01}
trainer: {max_epochs: 40, gradient_clip_val: 1.0}
"""
OLD = pytest.mark.filterwarnings("ignore:.*is now called:FutureWarning")


def settings(*words: str) -> dict:
    found = settings_parser().parse_args(words).as_dict()
    return {key: found[key] for key in ("model", "data", "trainer")}


@OLD
@pytest.mark.parametrize(
    ("old", "new"), [(KLEIN_GORDON, "klein_gordon_hamiltonian"), (BURGERS, "burgers")]
)
def test_an_old_file_is_the_new_one(old, new, tmp_path):
    (tmp_path / "old.yaml").write_text(old)
    wanted = settings("--config", new)
    found = settings("--config", str(tmp_path / "old.yaml"))
    data = yaml.safe_load(old)["data"].keys()  # the old text leaves out how files are made
    assert found["model"] == wanted["model"]
    assert found["trainer"] == wanted["trainer"]
    assert {k: found["data"][k] for k in data} == {k: wanted["data"][k] for k in data}


@OLD
def test_an_old_file_composes_the_same_weights(tmp_path):
    (tmp_path / "old.yaml").write_text(BURGERS)
    weights = []
    for name in (str(tmp_path / "old.yaml"), "burgers"):
        parser = settings_parser()
        task = parser.instantiate(parser.parse_args(["--config", name])).model
        torch.manual_seed(0)
        problem = schema((True,))
        parts = [task.encoder(16, problem), task.processor(16), task.decoder(16, problem)]
        weights.append([p for part in parts for p in part.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*weights, strict=True)) and weights[0]


@OLD
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--model.local=null", "--model.skip=null"),
        ("--model.local.lengths=[0.1]", "--model.skip.lengths=[0.1]"),
        ("--model.decoder.near=3", "--model.decoder.skip_features=3"),
        ("--model.decoder.init_args.near=3", "--model.decoder.init_args.skip_features=3"),
        ("--model.encoder.reach=[0.3,1]", "--model.encoder.reach=[0.3,1]"),
        (
            "--model.processor.init_args.field.init_args.energy.init_args.reach=2",
            "--model.processor.init_args.field.init_args.energy.init_args.radius=2",
        ),
        (
            "--model.propagator=fields.evolution.FlowInTime",
            "--model.propagator=fields.models.LatentFlow",
        ),
        ("--model.decoder=DeepONet", "--model.decoder=fields.decoders.BranchTrunk"),
        ("--model.processor=Metriplectic", "--model.processor=fields.flows.Metriplectic"),
        ("--model.processor.field=Recall", "--model.processor.field=fields.flows.HopfieldField"),
    ],
)
def test_old_options(old, new):
    assert current_words([old]) == [new]
    assert current_words(old.split("=")) == new.split("=")


@OLD
def test_old_options_take_effect():
    words = ["--config=burgers", "--model.local=null", "--model.decoder.near=0"]
    model = settings_parser().parse_args(words).model
    assert model.skip is None and model.decoder.init_args.skip_features == 0


def test_old_names_warn_and_present_ones_do_not(recwarn):
    current_words(["--model.skip=null", "--model.decoder=fields.decoders.CrossAttention"])
    current_settings(yaml.safe_load((ROOT / "configs" / "darcy.yaml").read_text()))
    assert not recwarn
    with pytest.warns(FutureWarning, match=r"`--model\.local` is now called `--model\.skip`"):
        current_words(["--model.local=null"])
    with pytest.warns(FutureWarning, match="`near` is now called `skip_features`"):
        current_settings({"decoder": {"init_args": {"near": 1}}})


@OLD
@pytest.mark.parametrize("old", MOVED)
def test_every_moved_class_is_found_in_yaml(old):
    assert current_settings({"class_path": old}) == {"class_path": MOVED[old]}
