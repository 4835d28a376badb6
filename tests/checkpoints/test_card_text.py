"""Cards print as text, and the README's table is the one that the cards give."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
from problems import operator

import fields
from fields.checkpoints.card_text import card_text
from fields.checkpoints.checkpoint import pretrained_files, read_header
from fields.checkpoints.markdown_table import pretrained_markdown
from fields.cli import main as cli

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", pretrained_files(), ids=lambda path: path.stem)
def test_every_shipped_card_states_domain_range_errors_and_provenance(path, capsys):
    header = read_header(path)
    assert cli.main(["card", path.stem]) == 0
    text = capsys.readouterr().out
    assert text.rstrip("\n") == card_text(header) == str(fields.load(path.stem).card)
    for entry in ("domain", "grid", "trained on", "test errors", "limits", "provenance"):
        assert any(line.startswith(entry) for line in text.splitlines()), entry
    first = header["schema"]["inputs"][-1]
    assert f"mean of `{first}`" in text and f"standard deviation of `{first}`" in text
    low, high = header["schema"]["bounds"][0]
    assert f"x in [{low:g}, {high:g}" in text


def test_a_card_is_a_dictionary_that_prints_as_text(capsys):
    card = fields.load("burgers").card
    assert isinstance(card, dict) and card["protocol"]["data"] == "data/burgers.h5"
    assert repr(card) == str(card) and json.loads(json.dumps(card)) == dict(card)
    for again in (copy.deepcopy(card), pickle.loads(pickle.dumps(card)), copy.copy(card)):
        assert dict(again) == dict(card) and str(again) == str(card)


def test_a_model_without_a_card_has_a_short_text(tmp_path):
    fields.save(operator((True,)), tmp_path / "m.safetensors")
    lines = str(fields.load(tmp_path / "m.safetensors").card).splitlines()
    assert lines[0] == "a -> u over x, processor Transformer"
    assert "domain      x in [0, 1), periodic" in lines


def test_the_command_prints_json_and_names_what_is_missing(capsys):
    assert cli.main(["card", "heat", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"]["dt"] == 0.05
    assert cli.main(["card", "nothing"]) == 2
    assert "no pretrained model of that name" in capsys.readouterr().err


def test_the_page_for_the_hub_states_domain_and_range(tmp_path):
    fields.load("burgers").save_pretrained(tmp_path / "page")
    page = (tmp_path / "page" / "README.md").read_text().replace("\\", "")
    assert "## Domain and training range\n\n- x in [0, 1), periodic\n- mean of `a`" in page


def test_the_table_of_the_readme_is_that_of_the_cards(capsys):
    """After `benchmarks/refresh_cards.py`, replace it by `python -m fields list --markdown`."""
    assert cli.main(["list", "--markdown"]) == 0
    table = capsys.readouterr().out.rstrip("\n")
    assert table == pretrained_markdown() and table in (ROOT / "README.md").read_text()
    rows = table.splitlines()[2:]
    assert len(rows) == len(pretrained_files())
    darcy = next(row for row in rows if row.startswith("| `darcy` |"))
    score = read_header(ROOT / "fields" / "pretrained" / "darcy.safetensors")["card"]["scores"]
    assert f"{score[0]['mean']:.2g}, {score[1]['mean']:.2g} at 85x85, 43x43" in darcy
    ode = next(row for row in rows if row.startswith("| `burgers_attention_ode` |"))
    assert "law" not in ode  # it has none


def test_what_is_no_name_and_a_device_that_is_missing_are_one_sentence():
    for wrong in (None, 3, ["burgers"]):
        with pytest.raises(FileNotFoundError, match="neither the name of a pretrained model"):
            fields.load(wrong)
    with pytest.raises(ValueError, match="cannot be used here"):
        fields.load("burgers", device="nothing")


def test_a_card_cannot_control_the_terminal(tmp_path):
    card = fields.load("burgers").card | {"limits": "red \x1b[31m text"}
    fields.save(operator((True,)), tmp_path / "m.safetensors", card=card)
    assert "\x1b" not in str(fields.load(tmp_path / "m.safetensors").card)
