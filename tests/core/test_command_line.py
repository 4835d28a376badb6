"""`python -m fields` as a new user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from inspect import signature

import numpy as np
import pytest
from problems import operator, waves

import fields
import train
from fields.cli import main as cli
from fields.cli.parser import command_parser, parse_numbers
from fields.cli.predict import SAMPLES_AT_ONCE


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_says_what_everything_is(name, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert not end.value.code and "<class" not in said and "None" not in said and "\x1b" not in said
    summary = (cli.COMMANDS[name].__doc__ or "").split("\n")[0].rstrip(".")
    assert summary in said
    for key, parameter in signature(cli.COMMANDS[name]).parameters.items():
        assert (
            f"--{key} " if parameter.kind is parameter.KEYWORD_ONLY else f" {key.upper()} "
        ) in f"{said} "


def test_without_a_command_there_is_help(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([])
    said = capsys.readouterr().out
    assert not end.value.code and all(f"    {name} " in said for name in cli.COMMANDS)


def test_a_misspelt_option_is_recognized(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", "burgers", "a.h5", "--out", "b.nc", "--symetrise"])
    assert end.value.code == 2 and "Did you mean --symmetrize?" in capsys.readouterr().err


def test_the_british_spelling_of_an_option_is_accepted_and_not_shown(capsys):
    parser = command_parser(cli.COMMANDS)
    words = ["predict", "burgers", "a.h5", "--out", "b.nc"]
    assert parser.parse_args([*words, "--symmetrise"]).symmetrize is True
    assert parser.parse_args([*words, "--symmetrize"]).symmetrize is True
    assert parser.parse_args(words).symmetrize is False
    with pytest.raises(SystemExit):
        cli.main(["predict", "--help"])
    assert "symmetrise" not in capsys.readouterr().out


def test_every_program_tells_its_version(capsys):
    for program in (cli.main, train.main):
        with pytest.raises(SystemExit) as end:
            program(["--version"])
        assert not end.value.code
        assert f"bracketfields {fields.__version__}" in capsys.readouterr().out


def test_help_imports_no_torch():
    code = """
import sys
from fields.cli.main import main
try:
    main(["--help"])
except SystemExit:
    print([name for name in ("torch", "xarray", "h5py") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_predictions_in_pieces_are_those_of_the_model(tmp_path, capsys):
    model = operator((True,))
    ds = waves(2 * SAMPLES_AT_ONCE + 3, (8,), (True,))
    fields.save(model, tmp_path / "m.safetensors")
    fields.write_dataset(ds, tmp_path / "in.h5")
    words = [
        "predict",
        str(tmp_path / "m.safetensors"),
        str(tmp_path / "in.h5"),
        "--at",
        "20",
        "--out",
        str(tmp_path / "out.nc"),
    ]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"wrote {tmp_path / 'out.nc'}: u over")
    assert (
        lines[1]
        == f"next: python -m fields inspect {tmp_path / 'out.nc'} --picture {tmp_path / 'out.png'}"
    )
    assert cli.main(lines[1].split()[4:]) == 0 and (tmp_path / "out.png").stat().st_size > 1000
    wanted = model.predict(ds, at={"x": np.arange(20) / 20})
    np.testing.assert_allclose(fields.open_dataset(tmp_path / "out.nc").u, wanted.u, atol=1e-5)
    capsys.readouterr()
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "out": str(tmp_path / "out.nc"),
        "sizes": dict(wanted.sizes),
    }


def test_an_interruption_says_what_is_left(monkeypatch, capsys):
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fields.checkpoints.model_cards.list_pretrained", stopped)
    assert cli.main(["list"]) == 130
    assert "Run the same command again" in capsys.readouterr().err


def test_times_are_lists_of_numbers():
    assert parse_numbers("[0.1,0.25, 3]") == parse_numbers("0.1,0.25,3") == [0.1, 0.25, 3.0]
