"""Reports show the results, in strict JSON and on a page without other files."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from fields.plot import png
from fields.plot.style import new_figure
from fields.report import (
    Picture,
    Results,
    Row,
    format_duration,
    format_number,
    print_table,
    render_html,
    to_json,
)
from fields.report.output import write_report

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def results(**changes):
    defaults = {
        "title": "Burgers, ν = 0.1 <test>",
        "problem": "u₀ & u(1)",
        "rows": [
            Row(
                "conditional neural field",
                "64",
                0.00412,
                0.0038,
                0.0204,
                1_234_567,
                312.0,
                ours=True,
            ),
            Row("mean predictor", "64", 0.9, 0.88, float("inf")),
        ],
        "protocol": {"seeds": [0, 1], "split": {"train": 1000, "test": 200}, "ν": np.float32(0.5)},
        "command": "python train.py --seed 0",
        "metrics": {
            "conditional neural field, 64": {"VRMSE": 0.00731},
            "mean predictor, 64": {"VRMSE": float("nan")},
        },
        "pictures": [Picture("median", 'a "median" sample', PNG)],
    }
    return Results(**{**defaults, **changes})


class Tags(HTMLParser):
    """Checks that every tag is closed and collects the addresses that a browser would load."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.sources = []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_json_is_strict_and_complete():
    def refuse(constant):
        raise AssertionError(constant)

    read = json.loads(to_json(results()), parse_constant=refuse)
    assert read["rows"][0]["mean"] == 0.00412
    assert (
        read["rows"][1]["worst"] is None and read["metrics"]["mean predictor, 64"]["VRMSE"] is None
    )
    assert read["protocol"] == {"seeds": [0, 1], "split": {"train": 1000, "test": 200}, "ν": 0.5}
    assert read["pictures"] == [{"name": "median", "caption": 'a "median" sample'}]


def test_page_is_well_formed_escaped_and_without_other_files():
    text = render_html(
        results(next_command="python train.py --config configs/a.yaml && echo <done>")
    )
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    assert (
        "<test>" not in text
        and "&lt;test&gt;" in text
        and "&lt;done&gt;" in text
        and "u₀ &amp; u(1)" in text
    )
    assert len(tags.sources) == 1 and tags.sources[0].startswith("data:image/png;base64,")
    assert base64.b64decode(tags.sources[0].split(",")[1]) == PNG
    assert not re.search(r"https?://|@import|url\(", text)


def test_page_shows_every_number_and_omits_empty_sections():
    text = render_html(results())
    for shown in ("0.00412", "0.00380", "0.0204", "0.00731", "5 min 12 s", "not finite", "VRMSE"):
        assert shown in text
    assert "Pictures" in text and "Try next" not in text
    assert "Pictures" not in render_html(results(pictures=[]))


def test_pictures_keep_their_size_in_inches():
    figure = new_figure(5.0, 1.0)
    assert 'width="480"' in render_html(results(pictures=[Picture("a", "", png(figure))]))


def test_writing_replaces_both_files_and_leaves_no_partial_ones(tmp_path):
    folder = tmp_path / "runs" / "a"
    write_report(results(title="old"), folder)
    json_path, html_path = write_report(results(title="new"), folder)
    assert json.loads(json_path.read_text(encoding="utf-8"))["title"] == "new"
    assert "<title>new</title>" in html_path.read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]


def test_a_failed_report_leaves_the_old_one(tmp_path):
    write_report(results(title="old"), tmp_path)
    with pytest.raises(AttributeError):
        write_report(results(title="new", rows=[None]), tmp_path)
    assert "<title>old</title>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["title"] == "old"


@pytest.mark.parametrize("width", [80, 120])
def test_table_shows_every_number_at_any_usual_width(width):
    stream = io.StringIO()
    print_table(results(summary="half the error"), Console(file=stream, width=width))
    text = stream.getvalue()
    for shown in (
        "0.00412",
        "0.00380",
        "0.0204",
        "1\u202f234\u202f567",
        "5 min 12 s",
        "not finite",
        "half the error",
    ):
        assert shown in text
    assert "…" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_many_metrics_are_cut_into_tables_that_fit_the_terminal(width):
    metrics = {f"relative error of quantity {i}": 0.000100 + i for i in range(1, 12)}
    stream = io.StringIO()
    entries = {f"field, step {step}": metrics for step in (4, 400)}
    print_table(results(metrics=entries), Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width and "…" not in stream.getvalue()
    words = stream.getvalue().split()
    assert all(words.count(format_number(value)) == 2 for value in metrics.values())


def test_numbers_and_durations_are_formatted_for_people():
    formatted = [
        format_number(value)
        for value in (0.004123, 0.09, 1.2649, 12.0, 345.6, 3.14e-7, 0.0, float("nan"))
    ]
    assert formatted == ["0.00412", "0.0900", "1.26", "12.0", "346", "3.14e-07", "0", "not finite"]
    assert [format_duration(s) for s in (0.5, 41.2, 545, 7800, 59.7)] == [
        "0.5 s",
        "41 s",
        "9 min 05 s",
        "2 h 10 min",
        "1 min 00 s",
    ]
