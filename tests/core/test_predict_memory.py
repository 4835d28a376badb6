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


def test_predictions_at_ever_new_numbers_of_points_stay_flat():
    """oneDNN kept 0.5 to 1 MB of compiled products for each."""
    code = (
        "import numpy as np, torch, xarray as xr, fields; torch.set_num_threads(1)\n"
        "def rss():\n"
        "    lines = open('/proc/self/status')\n"
        "    return next(int(l.split()[1]) for l in lines if l.startswith('VmRSS')) / 1024\n"
        "x = np.arange(128) / 128; model = fields.load('burgers')\n"
        "ds = xr.Dataset({'a': ('x', np.sin(2 * np.pi * x))}, coords={'x': x})\n"
        "for i in range(160):\n"
        "    if i == 60:\n"
        "        before = rss()\n"
        "    model.predict(ds, at={'x': np.linspace(0, 1, 500 + i, endpoint=False)})\n"
        "print(rss() - before)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(out.stdout) < 15
