"""Bring files made by others into canonical form, with splits, symmetries and geometry as input.

python -m datasets.prepare holed_poisson --source holed_poisson.h5
python -m datasets.prepare diffusion_perlin --source diffusion_perlin_64.h5
python -m datasets.prepare cylinder_wake --source cylinder_wake.h5
python -m datasets.prepare navy_forecast --source navy_winds_1982_1989.nc
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

import fields

from .wake import cylinder_wake
from .winds import navy_forecast, navy_reconstruction

SQUARE = [
    {"flip": ["x"]},
    {"flip": ["y"]},
    {"permute": ["y", "x"]},
]  # mirrors and the swap of axes: the group of the square
HELD = 0.1  # share of the training samples that select the weights


def split(samples: int, train: int, seed: int) -> np.ndarray:
    """0 train, 1 validation (a tenth of the training samples), 2 test, at random."""
    out = np.full(samples, 2, dtype=np.int8)
    chosen = np.random.default_rng(seed).permutation(samples)[:train]
    held = round(HELD * train)
    out[chosen[:held]] = 1
    out[chosen[held:]] = 0
    return out


def perlin(source: Path, seed: int) -> xr.Dataset:
    """−∇·(k ∇u) = 10 on the unit square, u = 0 on its boundary; k ↦ u on 64² points.

    The ends of the axes are included. 400 samples train, 100 test.
    """
    with h5py.File(source) as file:
        k, u = (np.asarray(file[name]) for name in ("k", "u"))
    axes = {
        name: (name, np.linspace(0, 1, k.shape[1 + i]), {"bounds": (0.0, 1.0)})
        for i, name in enumerate("xy")
    }
    return xr.Dataset(
        {
            "k": (("sample", "x", "y"), k, {"role": "input"}),
            "u": (("sample", "x", "y"), u, {"role": "output"}),
        },
        coords={**axes, "split": ("sample", split(len(k), round(0.8 * len(k)), seed))},
        attrs={"symmetries": json.dumps(SQUARE)},
    )


def holed(source: Path, seed: int) -> xr.Dataset:
    """−0.1 Δu = 1 on the unit square without a square hole, u = 0 on the boundary.

    The hole and all nodes move.

    The geometry is the input: at every node its distances to the outer boundary and to the hole,
    and the area that it stands for (a third of its triangles) as quadrature weight. Where the hole
    is, is not given as numbers, so that mirrored domains are samples too. 30 % of the geometries
    train.
    """
    with h5py.File(source) as file:
        x, y, u, corners = (np.asarray(file[name]) for name in ("x", "y", "u", "triangles"))
    points = np.stack([x, y], axis=-1)
    edges = np.sort(corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    each, uses = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(each[uses == 1])
    inner = rim[
        ((points[:, rim] > 1e-6) & (points[:, rim] < 1 - 1e-6)).all((0, 2))
    ]  # on the hole, in every sample
    low = points[:, inner].min(1)[:, None]
    high = points[:, inner].max(1)[:, None]
    hole = np.linalg.norm(np.maximum(np.maximum(low - points, points - high), 0), axis=-1)
    distance = np.minimum(points, 1 - points).min(-1)
    a, b, c = (points[:, corners[:, i]] for i in range(3))
    area = 0.5 * np.abs((b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0])
    weight = np.stack(
        [np.bincount(corners.ravel(), np.repeat(row / 3, 3), minlength=x.shape[1]) for row in area]
    )
    dims = ("sample", "point")
    return xr.Dataset(
        {
            "wall": (
                dims,
                distance.astype("f4"),
                {"role": "input", "long_name": "distance to the outer boundary"},
            ),
            "hole": (
                dims,
                hole.astype("f4"),
                {"role": "input", "long_name": "distance to the hole"},
            ),
            "area": (dims, weight.astype("f4"), {"role": "input", "quadrature": 1}),
            "u": (dims, u, {"role": "output"}),
        },
        coords={
            "x": (dims, x, {"bounds": (0.0, 1.0)}),
            "y": (dims, y, {"bounds": (0.0, 1.0)}),
            "triangles": (("triangle", "corner"), corners),
            "split": ("sample", split(len(x), round(0.3 * len(x)), seed)),
        },
        attrs={"symmetries": json.dumps(SQUARE)},
    )


MADE = {
    "holed_poisson": holed,
    "diffusion_perlin": perlin,
    "cylinder_wake": cylinder_wake,
    "navy_forecast": navy_forecast,
    "navy_reconstruction": navy_reconstruction,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("problem", choices=MADE)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    parser.add_argument("--out", type=Path, default=None, help="by default data/PROBLEM.h5")
    args = parser.parse_args(argv)
    if not args.source.is_file():
        parser.error(f"there is no file {args.source}. Give the file made by others with --source.")
    ds = MADE[args.problem](args.source, args.seed)
    out = args.out or Path("data") / f"{args.problem}.h5"
    recipe = {
        "source": args.source.name,
        "recipe": inspect.getdoc(MADE[args.problem]),
        "seed": args.seed,
    }
    recipe |= {"trivial": json.loads(ds.attrs.pop("trivial"))} if "trivial" in ds.attrs else {}
    ds.attrs |= {"problem": args.problem, "protocol": json.dumps(recipe)}
    out.parent.mkdir(parents=True, exist_ok=True)
    fields.write_dataset(ds, out)
    print(f"{out}: {dict(ds.sizes)}", recipe.get("trivial", ""))


if __name__ == "__main__":
    main()
