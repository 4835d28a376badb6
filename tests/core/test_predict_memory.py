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
at = {{"x": np.linspace(0, 1, 60), "y": np.linspace(0, 1, 80)}}
model.predict(ds)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for memory in (1e7, 1e10):  # peaks only grow: the small one first
    model.predict(ds, at=at, memory=memory)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_predict_stays_within_its_memory():
    run = subprocess.run([sys.executable, "-c", PROGRAM.format(root=ROOT)], capture_output=True, text=True, check=True)
    bounded, free = map(float, run.stdout.split())
    assert bounded < 4e7
    assert free > 8e7  # the bound is what keeps it small
