"""Reading rate of The Well's own dataset class on its own dummy file.

Run by `benchmarks.io --well-python` in an environment that has `the-well`.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

# Installed in an environment of its own.
from the_well.data import WellDataset  # pyright: ignore[reportMissingImports]
from the_well.utils.dummy_data import write_dummy_data  # pyright: ignore[reportMissingImports]


def main(folder: str, count: int) -> None:
    """Writes the dummy file and prints windows (four input frames, one target) per CPU second."""
    write_dummy_data(f"{folder}/dummy.hdf5")
    data = WellDataset(path=folder, n_steps_input=4, n_steps_output=1, use_normalization=False)
    data[0]
    rates = []
    for seed in range(3):
        places = np.random.default_rng(seed).integers(len(data), size=count)
        begin = time.process_time()
        for i in places:
            data[int(i)]
        rates.append(count / (time.process_time() - begin))
    print(json.dumps({"windows": len(data), "per_second": float(np.median(rates))}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
