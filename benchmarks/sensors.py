"""Fields from what sensors saw: checkpoints beside interpolation, climatology and persistence, with errors by group of variables.

    python benchmarks/sensors.py --problem cylinder_wake --groups velocity=u,v pressure=p --
    runs/cylinder_wake/model.safetensors

Relative L2 of each test sample over the group's variables together, mean over samples, ± standard
deviation over checkpoints, one per seed. Interpolation is a thin plate through the 24 nearest
values, in time a cubic spline through the frames. Trivial guesses are those that `python -m
datasets.prepare` noted in the file.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.interpolate import RBFInterpolator, make_interp_spline
from torch import Tensor

import fields
from benchmarks.board import markdown, spread, trained
from benchmarks.cells import ROOT, settings
from fields import plot
from fields.baselines.trivial import MeanValue
from fields.core.sample import Sample, Schema, collate
from fields.data.normalizer import Normalizer
from fields.inference.predict import average_over_symmetries
from fields.metrics.losses import relative_l2
from fields.models.base import Operator

NEAR, LEVELS = (
    24,
    12,
)  # neighbors of a thin plate; values of the last axis up to which it is taken for frames
Predictor = Callable[[Sample], Tensor]


def interpolation(norm: Normalizer, schema: Schema, columns: Sequence[int]) -> Predictor:
    """Each output from the input in its column, where that is given."""

    def predict(batch: Sample) -> Tensor:
        # rounded, since equal times in single precision may come out as unequal ones, lane by lane
        x, y = (norm.points(points)[0].double().numpy().round(5) for points in (batch.x, batch.y))
        u = batch.u[0, :, list(columns)].double().numpy()
        given, asked = batch.x_mask[0].numpy() & np.isfinite(u).all(1), batch.y_mask[0].numpy()
        out = np.zeros((len(y), len(columns)))
        out[asked] = interpolated(x[given], u[given], y[asked], schema.periodic)
        return torch.from_numpy(out).to(batch.v)[None, None]

    return predict


def interpolated(
    x: np.ndarray, u: np.ndarray, y: np.ndarray, periodic: Sequence[bool]
) -> np.ndarray:
    """Thin plates through the nearest values; where the last axis has few levels, a plate in each and cubic splines across."""
    for axis in np.flatnonzero(periodic):
        turn = np.eye(x.shape[1])[axis]
        x, u = np.concatenate([x - turn, x, x + turn]), np.concatenate([u, u, u])
    levels = np.unique(x[:, -1])
    if len(levels) > LEVELS:
        return RBFInterpolator(x, u, neighbors=NEAR)(y)
    plates = [
        RBFInterpolator(x[on, :-1], u[on], neighbors=NEAR)(y[:, :-1])
        for on in (x[:, -1] == t for t in levels)
    ]
    spline, out = (
        make_interp_spline(levels, np.stack(plates), k=min(3, len(levels) - 1)),
        np.empty((len(y), u.shape[1])),
    )
    for t in np.unique(y[:, -1]):
        out[y[:, -1] == t] = spline(t)[y[:, -1] == t]
    return out


@torch.no_grad()
def errors(
    predict: Predictor, samples: Sequence[Sample], groups: Sequence[Sequence[int]]
) -> list[float]:
    """Mean over the samples for every group of outputs."""
    found = []
    for one in samples:
        v_hat = predict(one)
        found.append(
            [
                relative_l2(v_hat[..., group], one.v[..., group], one.y_mask).item()
                for group in groups
            ]
        )
    return [float(mean) for mean in np.mean(found, axis=0)]


@torch.no_grad()
def picture(model: Operator, sample: Sample) -> Figure:
    """What was seen, the truth, the field and its error for every output of one sample."""
    one, v_hat = (
        Sample(*(part[0] for part in sample)),
        average_over_symmetries(model, sample, (), 1e9)[0].numpy(),
    )
    outputs = enumerate(model.schema.outputs)
    cases = [
        plot.PredictedSample.from_sample(
            one, v_hat, model.schema, title=f"{name}, a test sample", channel=c
        )
        for c, name in outputs
    ]
    return plot.sample_figure(cases)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; groups are read as (name, variables)."""
    out = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out.add_argument("--problem", required=True, help="a file of configs/ without .yaml")
    out.add_argument("--groups", nargs="+", required=True, help="NAME=VARIABLE,VARIABLE")
    out.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the table"
    )
    out.add_argument("models", nargs="+", help="checkpoints, one per seed")
    args = out.parse_args(argv)
    args.groups = [tuple(group.split("=", 1)) for group in args.groups]
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Prints and writes the table."""
    args = arguments(argv)
    data = settings(args.problem, "")[0].data
    data.setup()
    schema, rows = data.schema, next(iter(data.tests.values()))
    norm = Normalizer(schema, data.statistics)
    samples = [collate([rows[i]]) for i in range(len(rows))]
    groups = [[schema.outputs.index(name) for name in names.split(",")] for _, names in args.groups]
    models = [fields.load(path).eval() for path in args.models]
    flips = getattr(models[0], "card", {}).get("symmetries", ())
    found = {
        "field": [
            errors(lambda batch, m=m: average_over_symmetries(m, batch, (), 1e9), samples, groups)
            for m in models
        ]
    }
    if flips:
        found["field, mean over symmetries"] = [
            errors(
                lambda batch, m=m: average_over_symmetries(m, batch, flips, 1e9), samples, groups
            )
            for m in models
        ]
    seen = [
        schema.inputs.index(f"{name}_seen")
        for name in schema.outputs
        if f"{name}_seen" in schema.inputs
    ]
    if len(seen) == len(schema.outputs):
        found["interpolation"] = [errors(interpolation(norm, schema, seen), samples, groups)]
    found["mean value"] = [errors(MeanValue(schema=schema, normalizer=norm), samples, groups)]
    head = ["", "parameters", *(f"{name} ({names})" for name, names in args.groups)]
    size = f"{sum(p.numel() for p in models[0].parameters()):,}"
    body = [
        [
            name,
            size if name.startswith("field") else "0",
            *(spread([run[g] for run in runs]) for g in range(len(groups))),
        ]
        for name, runs in found.items()
    ]
    trivial = json.loads(data.source.attrs.get("protocol", "{}")).get("trivial", {})
    body += [
        [name, "0", error.removeprefix("rel. L2 "), *[""] * (len(groups) - 1)]
        for name, error in trivial.items()
    ]
    table = markdown([head, *body])
    runs = "\n".join(
        trained("field", getattr(model, "card", {}).get("protocol", {})) for model in models
    )
    note = f"Mean relative L2 over {len(samples)} test samples, norms over points and the group's variables, ± over seeds.\n\n{runs}"
    command = f"python benchmarks/sensors.py {shlex.join(sys.argv[1:] if argv is None else argv)}"
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"sensors_{args.problem}.png").write_bytes(
        plot.png(picture(models[0], samples[len(samples) // 2]))
    )
    shown = f"![a test sample](sensors_{args.problem}.png)"
    text = f"# {args.problem}: fields from sensors\n\n{table}\n\n{note}\n\n`{command}`, torch {torch.__version__}.\n\n{shown}\n"
    (args.out / f"sensors_{args.problem}.md").write_text(text)
    print(table)


if __name__ == "__main__":
    main()
