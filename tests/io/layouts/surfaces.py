"""neuraloperator, lists of surfaces."""

import torch

from layouts import Example


def surfaces(folder):
    generator = torch.Generator().manual_seed(0)
    samples = [
        {
            "vertices": torch.rand(n, 3, generator=generator),
            "vertex_normals": torch.rand(n, 3, generator=generator),
            "press": torch.rand(1, n, generator=generator),
        }
        for n in (5, 7)
    ]
    torch.save(samples, folder / "a")
    return folder / "a"


EXAMPLES = {"neuraloperator, surfaces": Example(surfaces, "surfaces_pt")}
