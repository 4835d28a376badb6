"""Shipped configurations: found from any folder, each upon its base, tokens written once."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from fields.training.configurations import CONFIGS, with_shipped_and_bases
from fields.training.settings import settings_parser

ROOT = Path(__file__).parents[2]
PROBLEMS = [*sorted(CONFIGS.glob("*.yaml")), *sorted(CONFIGS.glob("files/*.yaml"))]
PROBLEMS = [path for path in PROBLEMS if path.stem != "base"]
RECIPE = yaml.safe_load((CONFIGS / "base.yaml").read_text())


def parsed(*words: str):
    return settings_parser().parse_args(words)


def test_configurations_are_those_of_the_checkout():
    assert CONFIGS == ROOT / "configs"


@pytest.mark.parametrize("name", ["darcy", "darcy.yaml", "configs/darcy.yaml"])
def test_a_shipped_configuration_is_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parsed("--config", name).run.name == parsed(f"--config={name}").run.name == "darcy"


def test_a_file_in_the_working_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("darcy.yaml").write_text("{base: base.yaml, run: {name: mine}, data: {path: a.h5}}")
    mine = parsed("--config=darcy.yaml")
    assert mine.run.name == "mine"
    assert mine.trainer.gradient_clip_val == RECIPE["trainer"]["gradient_clip_val"]


def test_an_unknown_configuration_says_which_there_are():
    with pytest.raises(SystemExit, match=r"no configuration darci\. Shipped .*darcy"):
        parsed("--config=darci")


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda path: path.stem)
def test_a_problem_states_only_what_differs_from_the_base(path):
    """And its settings resolve: every component is built with the problem's tokens."""
    content = yaml.safe_load(path.read_text())
    assert (path.parent / content["base"]).resolve() == CONFIGS / "base.yaml"
    assert content["model"].get("optimizer") != RECIPE["model"]["optimizer"]
    assert not RECIPE["trainer"].items() & content["trainer"].items()
    assert path.read_text().count("tokens: [") == 1
    parser = settings_parser()
    settings = parser.parse_args(["--config", str(path)])
    recipe = {**RECIPE["model"]["optimizer"], **content["model"].get("optimizer", {})}
    assert settings.model.optimizer.class_path == recipe["class_path"]
    assert settings.model.encoder.init_args.tokens == tuple(content["tokens"])


def test_a_problem_overrides_the_base(tmp_path):
    words = with_shipped_and_bases(["--config=navy_forecast"])
    assert [Path(word).stem for word in words[1::2]] == ["base", "navy_forecast"]
    assert parsed(*words).model.optimizer.init_args.lr == 0.005


def test_tokens_reach_every_component_that_takes_them():
    for words in (["--tokens=[24]"], ["--tokens", "[24]"]):
        model = parsed("--config=klein_gordon_hamiltonian", *words).model
        energy = model.processor.init_args.field.init_args.energy
        for component in (model.encoder, energy, model.decoder):
            assert tuple(component.init_args.tokens) == (24,)


def test_tokens_of_a_component_come_before_those_of_the_file(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "tokens: [8]\nmodel: {encoder: fields.encoders.WindowedMoments, decoder: {class_path: "
        "fields.decoders.FourierInterpolation, init_args: {tokens: [4]}}}\ndata: {path: a.h5}"
    )
    model = parsed("--config", str(tmp_path / "own.yaml")).model
    assert tuple(model.encoder.init_args.tokens) == (8,)
    assert tuple(model.decoder.init_args.tokens) == (4,)
    model = parsed("--config=burgers", "--model.encoder.tokens=[4]").model
    assert tuple(model.encoder.init_args.tokens) == (4,)


def test_tokens_that_no_file_shares_are_refused(tmp_path):
    (tmp_path / "own.yaml").write_text("data: {path: a.h5}")
    with pytest.raises(SystemExit, match=r"--model\.encoder\.tokens"):
        parsed("--config", str(tmp_path / "own.yaml"), "--tokens=[8]")


def test_saved_settings_give_the_same_settings(tmp_path):
    first = parsed("--config=klein_gordon_hamiltonian")
    parser = settings_parser()
    parser.save(first, tmp_path / "config.yaml", skip_validation=True)
    again = parsed("--config", str(tmp_path / "config.yaml"))
    assert again.model == first.model and again.data == first.data


def test_every_key_is_explained_in_the_help(capsys):
    parser = settings_parser()
    keys = [action for action in parser._actions if hasattr(action, "_typehint")]
    assert len(keys) > 40
    assert [action.dest for action in keys if not (action.help or "").strip(" .")] == []
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for text in ("token width h of all components", "samples per step and process"):
        assert text in said


def test_the_page_of_settings_is_up_to_date():
    path = ROOT / "docs" / "configuration_page.py"
    spec = importlib.util.spec_from_file_location("configuration_page", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page(), f"run `python {path.relative_to(ROOT)}`"
    groups = {action.dest.split(".")[0] for action in settings_parser()._actions}
    assert groups & {"run", "model", "data", "report", "trainer"} == set(module.GROUPS)
    assert "configuration.md" in (ROOT / "mkdocs.yml").read_text()


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda path: path.stem)
def test_the_depth_of_a_processor_is_stated(path):
    """A processor whose file omits it would get that of the default transformer, which is 4."""
    processor = yaml.safe_load(path.read_text())["model"]["processor"]
    model = parsed("--config", str(path)).model
    assert model.processor.init_args.depth == processor["init_args"]["depth"]
    if "LatentFlow" in str(model.propagator):  # one flow, which is that of the field in time
        assert model.processor.init_args.depth == 1
