"""torchrun starts two and three processes: each test sample is counted once.

All processes take the same number of training steps.

This file is also the program that torchrun starts: each process writes what it received to a file
of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_samplers import numbers, trajectories

ROOT = Path(__file__).parents[2]
SETTINGS = {  # how the data are read: bytes of memory, loader processes
    "held": (1e9, 0),
    "streamed": (0.0, 0),
    "streamed by two workers": (0.0, 2),
}


def seen_by_one(folder: Path) -> dict[str, Any]:
    """What this process of torchrun's is given in two epochs and in the tests."""
    import torch
    from torch import distributed

    from fields.data.datamodule import FieldDataModule
    from fields.metrics import RelativeL2

    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    out: dict[str, Any] = {}
    for name, (memory, workers) in SETTINGS.items():
        data = FieldDataModule(
            f"{folder}/a.h5",
            memory=memory,
            workers=workers,
            batch_size=4,
            validation=0.2,
            test=0.25,
        )
        data.setup()
        out[name] = {
            "statistics": [s[:4] for s in data.statistics.values()],
            "of training": data.train.indices.tolist(),
        }
        loader = data.train_dataloader()
        epochs = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)  # as Lightning does
            epochs.append({"batches": len(list(loader)), "windows": numbers(loader).tolist()})
        out[name]["epochs"] = epochs
        parts = {
            "validation": (data.val, data.val_dataloader()),
            "test": (data.tests["16"], *data.test_dataloader()),
        }
        for part, (whole, tests) in parts.items():
            metric = RelativeL2()
            for batch in tests:
                metric.update(2 * batch.v, batch.v, batch.y_mask)
            with metric.sync_context():
                counted = len(metric.per_sample())
            out[name][part] = {
                "own": numbers(tests).tolist(),
                "all": whole.indices.tolist(),
                "counted": counted,
            }
    distributed.destroy_process_group()
    return out


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_torchrun_shares_the_data(tmp_path, ranks):
    trajectories(tmp_path / "a.h5", samples=20)  # 11 to train, 4 to validate, 5 to test
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={ranks}",
        __file__,
        str(tmp_path),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    all_seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(ranks)]
    for name, (memory, _) in SETTINGS.items():
        seen = [one[name] for one in all_seen]
        assert all(one["statistics"] == seen[0]["statistics"] for one in seen)
        for part, many in (
            ("validation", 4),
            ("test", 5),
        ):  # every sample once, in order, and each process has some
            joined = [number // 1000 for one in seen for number in one[part]["own"]]
            assert joined == seen[0][part]["all"] and len(joined) == many, (name, part)
            assert all(one[part]["own"] and one[part]["counted"] == many for one in seen)
        for epoch in range(2):
            given = [one["epochs"][epoch] for one in seen]
            assert len({(one["batches"], len(one["windows"])) for one in given}) == 1, (
                name
            )  # as many steps
            whole = {1000 * i + t for i in seen[0]["of training"] for t in range(7)}
            own = [{number // 1000 for number in one["windows"]} for one in given]
            assert set().union(*own) == set(seen[0]["of training"])
            if memory == 0:  # trajectories of its own
                assert sum(map(len, own)) == len(seen[0]["of training"]), name
            left_out = whole.difference(*(one["windows"] for one in given))
            assert len(left_out) < 7, name  # the windows of one trajectory
        assert seen[0]["epochs"][0]["windows"] != seen[0]["epochs"][1]["windows"]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / f"{os.environ['RANK']}.json").write_text(json.dumps(seen_by_one(target)))
