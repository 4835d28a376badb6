"""neuraloperator, tensors ``x`` and ``y``."""

import torch
import writers

from layouts import Example


def burgers(folder):
    x = torch.from_numpy(writers.rng().random((3, 8)))
    y = torch.stack([x, x + 1, x + 2], 1)
    torch.save({"x": x, "y": y, "visc": torch.full((1, 1), 0.01)}, folder / "a")
    return folder / "a"


EXAMPLES = {"neuraloperator": Example(burgers, "neuralop_pt")}
