"""A file of 20 GB trains a model in a process that may use 2 GB."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_20_gigabytes_train_with_2():
    pytest.importorskip("resource")
    command = [
        sys.executable,
        "-m",
        "benchmarks.out_of_core",
        "--gigabytes",
        "20",
        "--limit",
        "2",
        "--steps",
        "20",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    peak = re.search(r"peak memory ([\d.]+) GB of 2 GB", done.stdout)
    assert peak is not None and float(peak[1]) < 2
    assert "file 20.00 GB" in done.stdout
    assert re.search(r"training 17 GB streamed from the file", done.stderr)  # the log
