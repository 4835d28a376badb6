"""What an installed package can do: a wheel in an empty folder, and an editable checkout."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import fields

ROOT = Path(__file__).parents[2]
PLACES = {"fields": "fields", "datasets": "bracketfields_datasets", "configs": "fields/configs"}


def built(folder: Path, code: str) -> Path:
    """An unpacked wheel that hatchling makes of the checkout."""
    pytest.importorskip("hatchling", reason="the wheel is built by hatchling")
    code = f"from hatchling import build; print(build.{code})"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return built(folder, f"build_wheel({str(folder)!r})")


@pytest.fixture
def program(site, tmp_path, monkeypatch) -> Callable[..., str]:
    """Runs a console script of the wheel in an empty folder and returns what it prints."""
    scripts = configparser.ConfigParser()
    scripts.read(next(site.glob("*.dist-info")) / "entry_points.txt")
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    def run(name: str, *words: str) -> str:
        module, function = scripts["console_scripts"][name].split(":")
        code = (
            f"import sys; sys.argv[0] = {name!r}\nfrom {module} import {function}\n"
            f"import fields; assert fields.__file__.startswith({str(site)!r}), fields.__file__\n"
            f"sys.exit({function}())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_wheel_holds_code_catalogue_and_configurations(site):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PLACES]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(lambda name: (ROOT / name).is_file(), listed.stdout.split()):
        room, rest = name.split("/", 1)
        assert (site / PLACES[room] / rest).is_file(), name
    assert not (site / "datasets").exists()  # the name of another package


def test_a_wheel_trains_the_main_job_in_an_empty_folder(program, tmp_path):
    """`fields-train` without further settings than those that make it short."""
    quick = ["--make.samples=40", "--make.workers=1", "--trainer.max_epochs=1"]
    said = program("fields-train", *quick, "--run.baseline=false", "--trainer.accelerator=cpu")
    assert "data/burgers.h5 does not exist: generating it." in said
    assert "training and" in said and "wrote runs/burgers/report.html" in said
    assert "klein_gordon" in program("fields", "list")
    words = ["runs/burgers/model.safetensors", "data/burgers.h5", "--at", "64", "--out", "out.nc"]
    assert "next:" in program("fields", "predict", *words)
    out = fields.open_dataset(tmp_path / "out.nc")
    assert dict(out.sizes) == {"sample": 40, "x": 64}


def test_an_editable_install_puts_the_root_on_the_path(tmp_path):
    site = built(tmp_path, f"build_editable({str(tmp_path)!r})")
    [path] = site.glob("*.pth")
    assert path.read_text().splitlines() == [str(ROOT)]
    assert {entry.suffix for entry in site.iterdir()} == {".pth", ".dist-info"}  # and no copies


def test_everything_is_imported_from_any_folder_with_the_root_on_the_path(tmp_path):
    code = "import datasets.burgers, benchmarks.cache, train, fields; print(datasets.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == str(ROOT / "datasets" / "__init__.py"), run.stderr


def test_no_benchmark_shadows_a_module_of_python():
    """`python benchmarks/NAME.py` puts their folder first on the path."""
    names = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    loaded_at_start = {"io"}
    assert names & sys.stdlib_module_names <= loaded_at_start
