"""`predict` divides its queries so that it stays within the given memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
sys.path[:0] = ["{root}", "{root}/tests"]
import numpy as np, torch
from problems import operator, waves
torch.set_num_threads(1)


def peak():
    # ru_maxrss would begin with the peak of the process that started this one.
    with open("/proc/self/status") as status:
        return 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])


model, ds = operator((False, True), dim=64), waves(1, (24, 24), (False, True))
at = {{"x": np.linspace(0, 1, 180), "y": np.linspace(0, 1, 240)}}
model.predict(ds)
before = peak()
for memory in (1e7, 1e10):  # the small one first, because peaks only grow
    model.predict(ds, at=at, memory=memory)
    print(peak() - before)
"""


def test_predict_stays_within_its_memory():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(root=ROOT)],
        capture_output=True,
        text=True,
        check=True,
    )
    bounded, free = map(float, run.stdout.split())
    assert bounded < 4e7
    assert free > 8e7  # the bound is what keeps it small
