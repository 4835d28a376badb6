"""APEBench."""

import json

import numpy as np
import writers

from layouts import Example


def burgers(folder):
    data = writers.rng().normal(size=(2, 3, 2, 6, 6)).astype("f4")
    np.save(folder / "2d_burgers_test.npy", data)
    scenario = {"name": "burgers", "domain_extent": 2.0, "dt": 0.1}
    (folder / "2d_burgers.json").write_text(json.dumps(scenario))
    return folder / "2d_burgers_test.npy"


EXAMPLES = {"apebench": Example(burgers, "apebench")}
