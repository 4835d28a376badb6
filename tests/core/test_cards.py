"""Pretrained models: their table, the folder for the hub, and their cards against new data."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from problems import operator, waves
from safetensors import safe_open

import fields
from fields.checkpoints import model_cards as cards
from fields.checkpoints.checkpoint import pretrained_files, read_header
from fields.cli import main as cli
from fields.core.sample import collate
from fields.data import FieldDataset
from fields.dynamics.base import Invariant
from fields.metrics.losses import relative_l2

ROOT = Path(__file__).parents[2]
FILES = pytest.mark.parametrize("path", pretrained_files(), ids=lambda path: path.stem)


def test_the_table_lists_every_file_without_its_weights(monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr("fields.checkpoints.checkpoint.build_checked", None)
        table = fields.list_pretrained()
    assert [entry.name for entry in table] == [path.stem for path in pretrained_files()]
    for entry in table:
        model = fields.load(entry.name)
        assert entry.parameters == sum(p.numel() for p in model.parameters())
        assert entry.processor.split("(")[0] == type(model.processor).__name__
        assert (
            entry.error.startswith(f"{cards.primary_error(model.card['scores'][0]):.2g} at ")
            and entry.license
        )
    lines = repr(table).splitlines()
    assert lines[0].split() == list(cards.COLUMNS) and len(lines) == len(table) + 1
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[: len(lines)] == lines
    assert cli.main(["list", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == [
        entry.name for entry in table
    ]


def test_a_folder_for_the_hub_comes_back_bit_for_bit(tmp_path):
    model = operator((False, True))
    ds = waves(3, (8, 8), (False, True))
    model.card = fields.load("burgers").card | {"limits": "None that we know."}
    folder = model.save_pretrained(tmp_path / "org" / "square")
    assert {file.name for file in folder.iterdir()} == {
        "model.safetensors",
        "config.json",
        "README.md",
    }
    for again in (fields.from_pretrained(folder), fields.load(folder)):
        np.testing.assert_array_equal(again.predict(ds).u, model.predict(ds).u)
    config = json.loads((folder / "config.json").read_text())
    assert config == read_header(folder / "model.safetensors") and config["schema"]["units"] == {
        "u": "J"
    }
    page = (folder / "README.md").read_text()
    assert (
        page.startswith("---\nlicense: mit\n")
        and "| field | 128 | 0.000839 |" in page
        and "None that we know." in page
    )
    with safe_open(folder / "model.safetensors", "pt") as file:  # nothing but tensors and a header
        assert set(file.metadata()) == {"bracketfields"}


def test_the_hub_gets_and_gives_the_same_three_files(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    model = operator((True,))
    ds = waves(2, (8,), (True,))
    said = []

    def upload(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        for file in Path(folder_path).iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        return f"https://hub/{repo_id}"

    monkeypatch.setattr(
        hub.HfApi, "create_repo", lambda self, repo, **options: said.append((repo, options))
    )
    monkeypatch.setattr(hub.HfApi, "upload_folder", upload)
    monkeypatch.setattr(
        hub, "hf_hub_download", lambda repo, file, revision=None: str(tmp_path / file)
    )
    assert model.push_to_hub("org/line", private=True) == "https://hub/org/line"
    assert said == [("org/line", {"private": True, "exist_ok": True})]
    card = hub.ModelCard.load(tmp_path / "README.md")
    assert (
        card.data.library_name == "bracketfields" and 'fields.load("hf://org/line")' in card.content
    )
    for again in (
        fields.from_pretrained("org/line", revision="main"),
        fields.load("hf://org/line"),
    ):
        np.testing.assert_array_equal(again.predict(ds).u, model.predict(ds).u)

    def unreachable(*_, **__):
        raise OSError("offline")

    monkeypatch.setattr(hub, "hf_hub_download", unreachable)
    with pytest.raises(
        FileNotFoundError,
        match=r"no folder .org/line., and the Hugging Face hub did not provide .* name: offline",
    ):
        fields.from_pretrained("org/line")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match="pip install huggingface-hub"):
        fields.load("hf://org/line")


class Recipe:
    """What a card's command trained on, and how the data are made again."""

    def __init__(self, card: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
        from fields.training.catalogue import make_missing_files
        from fields.training.configurations import DEFAULT
        from fields.training.settings import settings_parser

        monkeypatch.chdir(ROOT)
        words = shlex.split(card["protocol"]["command"])[2:]
        words = (
            words
            if any(word.startswith("--config") for word in words)
            else ["--config", str(DEFAULT), *words]
        )
        self.parser = settings_parser()
        self.config = self.parser.parse_args(words)
        self.generate = make_missing_files
        self.apart = bool(self.config.data.test_paths)

    def problem(self) -> tuple[Any, dict[str, Any]]:
        """The catalogue's problem of the test data, and its samples, resolution and seed."""
        from datasets.__main__ import catalogue

        made = (
            dict(self.config.make)
            if self.config.make
            else pytest.skip("the data are not of the catalogue")
        )
        made |= made.pop("test", {}) if self.apart else {}
        kind = catalogue()[made["problem"]]
        run = {
            key: made.pop(key, usual)
            for key, usual in (("samples", None), ("resolution", kind.resolution), ("seed", 0))
        }
        problem = kind(
            **{
                key: value
                for key, value in made.items()
                if key not in ("problem", "test", "workers", "device")
            }
        )
        return problem, run | {"samples": run["samples"] or problem.usual_samples()}

    def given(self, wanted: list[int], shared: Path) -> Iterator[xr.Dataset]:
        """A few test samples of a file made by others, as it lies beside the repository."""
        from datasets.prepare import MADE

        path = Path([*self.config.data.test_paths, self.config.data.path][0])
        if path.stem in MADE:
            ds = MADE[path.stem](shared / path.name, 0)
            ds = ds.isel(sample=np.flatnonzero(ds["split"] == 2))
        else:
            ds = fields.open_dataset(shared / path.name)
        yield from (ds.isel(sample=[i]) for i in wanted)

    def some(self, wanted: list[int], frames: int | None = None) -> Iterator[xr.Dataset]:
        """A few test samples, made by themselves: each has a random stream of its own."""
        problem, run = self.problem()
        if frames is not None:
            problem.frames = frames
        tests = (
            np.arange(run["samples"])
            if self.apart
            else np.flatnonzero(problem.split(run["samples"]) == 2)
        )
        for i in tests[wanted]:
            ds = problem.solve(range(i, i + 1), resolution=run["resolution"], seed=run["seed"])
            yield ds.map(
                lambda v: v if v.attrs["role"] == "parameter" else v.astype(np.float32),
                keep_attrs=True,
            )

    def stride(self, ds: xr.Dataset, axis: str, points: str) -> int:
        """Which of the test strides gives so many points along the first axis."""
        if "point" in ds.dims:
            return 1
        return next(
            s
            for s in self.config.data.test_strides
            if -(-ds.sizes[axis] // s) == int(points.split("x")[0])
        )


def error(model: Any, ds: xr.Dataset, stride: int, horizon: int | None) -> float:
    """Relative L2 of one sample, of the last step of the horizon in time."""
    data = FieldDataset(ds, model.schema, stride=stride, horizon=horizon)
    batch = collate([data[0]])
    with torch.no_grad():
        return relative_l2(model.evaluate(batch, 1e9)[:, -1:], batch.v[:, -1:], batch.y_mask).item()


@FILES
def test_a_card_states_what_is_needed_to_judge_the_model(path):
    """Data, seeds, time, machine, errors beside a trivial predictor's, limits, certificates."""
    model = fields.load(path)
    card = model.card
    assert card["protocol"].keys() >= {
        "data",
        "split",
        "seconds",
        "seeds",
        "machine",
        "selection",
        "command",
    }
    assert {s["model"] for s in card["scores"]} & {"mean field", "persistence"} and card["limits"]
    law = getattr(model.processor, "law", Invariant.NONE)
    if law not in (Invariant.NONE, Invariant.SYMPLECTIC):
        assert card["certificate"]["law"] == law.value and card["certificate"]["verdict"] == "holds"


@pytest.mark.filterwarnings("ignore:.*is now called:FutureWarning")  # commands of version 0.1
@FILES
def test_a_card_is_true_of_a_few_samples(path, monkeypatch, request):
    """The median and worst samples of a static map have the errors of the card.

    The mean over four trajectories is within a factor of three of the card's mean.
    """
    model = fields.load(path)
    recipe = Recipe(model.card, monkeypatch)
    score = model.card["scores"][0]
    if "mean" in score:
        wanted = [score["median_index"], score["worst_index"]]
        some = (
            recipe.some(wanted)
            if recipe.config.make
            else recipe.given(wanted, request.getfixturevalue("shared"))
        )
        middle, worst = (
            error(model, ds, recipe.stride(ds, model.schema.coords[0], score["test"]), None)
            for ds in some
        )
        assert worst == pytest.approx(score["worst"], rel=0.01)
        assert middle == pytest.approx(score["median"], rel=0.1)
    else:
        step, mean = next(iter(score["error"].items()))
        some = recipe.some([0, 1, 2, 3], model.schema.history + int(step))
        found = np.mean([error(model, ds, 1, int(step)) for ds in some])
        assert mean / 3 < found < 3 * mean


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is now called:FutureWarning")
@FILES
def test_a_card_is_reproduced_from_its_recipe(path, monkeypatch, tmp_path):
    """All data are generated by the card's command; every error is within 2 % of the card's."""
    from fields.evaluation.scoring import score
    from fields.report.rollout import RolloutReport

    model = fields.load(path)
    recipe = Recipe(model.card, monkeypatch)
    config = recipe.config
    paths = [config.data.path, *config.data.test_paths]
    if config.make:
        config.data.path, *config.data.test_paths = (
            str(tmp_path / Path(one).name) for one in paths
        )
        recipe.generate(config.data, config.make)
    elif not all(Path(one).exists() for one in paths):
        pytest.skip(f"{paths} were made by others and are not here")
    data = recipe.parser.instantiate(config).data
    data.setup()
    [name] = {s["model"] for s in model.card["scores"][:1]}
    if "mean" in model.card["scores"][0]:
        found = {one.test: one.mean for one in score(name, model, data)}
        stated = {one["test"]: one["mean"] for one in model.card["scores"] if one["model"] == name}
    else:
        rolled = RolloutReport(data)
        rolled.measure(name, model)
        stated = {
            int(step): value
            for step, value in model.card["scores"][0]["error"].items()
            if int(step) <= 40
        }
        found = {step: float(rolled.measured[0].at(step).mean()) for step in stated}
    assert found == pytest.approx(stated, rel=0.02)
