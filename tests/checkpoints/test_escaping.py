"""Names and texts from files cannot format, link or steer what is shown of them."""

from __future__ import annotations

import copy
import io
import re

import numpy as np
import xarray as xr
from rich.console import Console

from fields.checkpoints.checkpoint import find_checkpoint, read_header
from fields.checkpoints.model_cards import render_model_card
from fields.cli.main import main
from fields.core.printable import fenced
from fields.io import write_dataset
from fields.report.output import print_table
from fields.report.results import Results, Row

EVIL = "[bold red]u[/] <img src=x onerror=alert(1)> [x](http://a.b) `|` \x1b[31m\n# head"


def test_a_model_card_shows_texts_as_they_are():
    header = copy.deepcopy(read_header(find_checkpoint("burgers_grand")))
    header["card"] |= {"limits": EVIL, "license": "mit\ntags: [evil]"}
    header["card"]["protocol"] |= {"command": EVIL, EVIL: EVIL}
    header["card"]["scores"][0]["model"] = EVIL
    header["schema"] |= {"inputs": [EVIL]}
    text = render_model_card(header, EVIL, '"); import os  #')
    outside = re.sub(r"```.*?\n```\n", "", text, flags=re.DOTALL)
    assert "<img" not in outside and "\x1b" not in text
    assert not re.search(r"(?<!\\)\]\(", outside) and not re.search(r"^# head", text, re.MULTILINE)
    assert "license: other\n" in text and "tags: [evil]" not in text
    assert r'fields.load("\"); import os  #")' in text
    assert text.count("\n# ") == 1


def test_a_fence_is_longer_than_any_in_its_text():
    assert fenced("a\n```\n<b>").splitlines()[0] == "````text"


def test_the_terminal_shows_names_as_they_are(tmp_path, capsys):
    name = "[bold red]u"
    a = (("sample", "x"), np.zeros((2, 8)), {"role": "input", "units": "[/x]\x1b[31m"})
    ds = xr.Dataset({"a": a, name: a}, {"x": np.arange(8) / 8}, {"problem": f"{name}\x1b[31m"})
    ds[name].attrs["role"] = "output"
    write_dataset(ds, tmp_path / "a.h5")
    assert main(["inspect", str(tmp_path / "a.h5")]) == 0
    said = capsys.readouterr().out
    assert said.count(name) >= 2 and "[/x]" in said and "\x1b" not in said
    main(["inspect", str(tmp_path / "\x1b[31mnone.h5")])
    assert "\x1b" not in capsys.readouterr().err


def test_the_table_of_errors_shows_names_as_they_are():
    stream = io.StringIO()
    row = Row("[red]m[/]\x1b[31m", "[b]", 1.0, 1.0, 1.0)
    results = Results(title="[red]t[/]", problem="", rows=[row], protocol={}, command="")
    print_table(results, Console(file=stream, width=200))
    assert "[red]t[/]" in stream.getvalue() and "[red]m[/]" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
