"""`predict` cuts its queries so that it stays within the memory it is given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import resource, sys
sys.path[:0] = ["{root}", "{root}/tests"]
import numpy as np, torch
from problems import operator, waves
torch.set_num_threads(1)
model, ds = operator((False, True), dim=64), waves(1, (24, 24), (False, True))
model.predict(ds)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.predict(ds, at={{"x": np.linspace(0, 1, 160), "y": np.linspace(0, 1, 200)}}, memory={memory})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def peak(memory: float) -> float:
    code = PROGRAM.format(root=ROOT, memory=memory)
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def test_predict_stays_within_its_memory():
    assert peak(3e7) < 8e7
    assert peak(1e10) > 1.2e8  # the bound is what keeps it small
