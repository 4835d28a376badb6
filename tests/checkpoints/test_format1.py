"""Checkpoints of format 1, written by version 0.1, still open and predict what they predicted."""

from __future__ import annotations

import contextlib
import inspect
import json
import warnings
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import fields
from fields.checkpoints.checkpoint import KEY
from fields.core.moved_names import MOVED, current_description
from fields.core.sample import Sample

FOLDER = Path(__file__).parent / "format1"
CONSTRUCTED_INSIDE = {  # by other components, so that no file names them
    "fields.dynamics.energies.BoundedFeatures",
    "fields.dynamics.hamiltonian.Damping",
    "fields.dynamics.pairwise.Pairs",
    "fields.processors.block.Block",
}
NAMES = sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def header(path: Path) -> dict:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()[KEY])


def paths_in(description: object) -> set[str]:
    """All class paths in a model's description."""
    if isinstance(description, list):
        return set().union(*map(paths_in, description))
    if not isinstance(description, dict):
        return set()
    own = {description[key] for key in ("class_path", "factory") if key in description}
    return own.union(*map(paths_in, description.values()))


def predictions(model: fields.Ensemble | fields.FieldOperator, batch: Sample) -> torch.Tensor:
    members = model.members if isinstance(model, fields.Ensemble) else [model]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        out = torch.stack([member.evaluate(batch, 1e9) for member in members])
    torch.set_num_threads(threads)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_format_1_predicts_what_it_predicted(name, tmp_path):
    path = FOLDER / f"{name}.safetensors"
    assert header(path)["format"] == 1
    old = paths_in(header(path)["model"])
    with pytest.warns(FutureWarning) as caught:
        model = fields.load(path)
    messages = [str(one.message) for one in caught if one.category is FutureWarning]
    moved = {each: MOVED[each] for each in old if each in MOVED}
    assert sorted(messages) == sorted(
        f"`{before}` is now called `{now}`. Please use the new name."
        for before, now in moved.items()
    )
    with safe_open(FOLDER / f"{name}.case", "pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        computed = file.metadata()
    expected = stored.pop("predictions")
    found = predictions(model, Sample(**stored))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    here = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    if computed == here:  # other kernels add in another order
        assert torch.equal(found, expected)
    assert model.card["license"] == "MIT"
    assert model.card["certificate"]["findings"] == [{"violation": 0.0, "rejected_steps": 0}]

    again = tmp_path / "again.safetensors"
    fields.save(model, again, card=model.card)
    assert header(again)["format"] == 2
    assert not paths_in(header(again)["model"]) & set(MOVED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reloaded = fields.load(again)
    assert torch.equal(predictions(reloaded, Sample(**stored)), found)


def test_the_files_use_every_component_that_has_moved():
    used = set().union(
        *(paths_in(header(FOLDER / f"{name}.safetensors")["model"]) for name in NAMES)
    )
    rooms = ("encoders", "decoders", "processors", "dynamics", "integrators", "evolution")
    modules = {
        path
        for path in MOVED
        if path.split(".")[1] in rooms and path.count(".") == 3
        if issubclass(resolve(MOVED[path]), torch.nn.Module)
    }
    described = {path for path in modules if not inspect.isabstract(resolve(MOVED[path]))}
    assert described - used == CONSTRUCTED_INSIDE


def resolve(path: str) -> type:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize("old", sorted(MOVED))
def test_every_name_in_the_table_leads_to_a_class(old):
    assert isinstance(resolve(MOVED[old]), type)
    assert MOVED[old] not in MOVED
    with contextlib.suppress(ImportError, AttributeError):
        assert resolve(old) is resolve(MOVED[old])  # the old path may have stayed as an export


def test_one_warning_names_each_class_that_moved():
    one = {"class_path": "fields.decoders.DeepONet", "init_args": {"near": 2}}
    with pytest.warns(FutureWarning, match=r"fields\.decoders\.BranchTrunk") as caught:
        out = current_description({"decoder": one, "others": [one, one]})
    assert len(caught) == 1
    assert out["decoder"] == {
        "class_path": "fields.decoders.BranchTrunk",
        "init_args": {"skip_features": 2},
    }


def test_arguments_of_classes_elsewhere_keep_their_names():
    theirs = {"class_path": "theirs.Decoder", "init_args": {"near": 2}}
    assert current_description(theirs) == theirs
