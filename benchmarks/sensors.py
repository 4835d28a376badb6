"""Reconstruction of fields from sensors, compared with interpolation and trivial predictors.

    python benchmarks/sensors.py --problem cylinder_wake --groups velocity=u,v pressure=p \
        -- runs/cylinder_wake/model.safetensors

Reports the relative L2 of each test sample over the variables of a group together, averaged over
samples, ± the standard deviation over checkpoints, one per seed. Interpolation uses thin-plate
splines through the 24 nearest values in space and a cubic spline through the frames in time. The
other predictors (climatology, persistence) are those that `python -m datasets.prepare` stored in
the file.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.interpolate import RBFInterpolator, make_interp_spline
from torch import Tensor

import fields
from benchmarks.runs import ROOT, settings
from benchmarks.tables import markdown, spread, training_line
from fields import plot
from fields.baselines.trivial import MeanValue
from fields.core.sample import Sample, Schema, collate
from fields.data.normalizer import Normalizer
from fields.inference.predict import average_over_symmetries
from fields.metrics.losses import relative_l2
from fields.models.base import Operator

NEIGHBORS = 24  # of a thin-plate spline
LEVELS = 12  # the last axis is treated as frames if it has at most this many values
Predictor = Callable[[Sample], Tensor]


def interpolation(norm: Normalizer, schema: Schema, columns: Sequence[int]) -> Predictor:
    """Predictor that interpolates each output from the input in its column, where it is finite."""

    def predict(batch: Sample) -> Tensor:
        # Rounded, since equal times may differ in the last bit of single precision.
        x, y = (norm.points(points)[0].double().numpy().round(5) for points in (batch.x, batch.y))
        u = batch.u[0, :, list(columns)].double().numpy()
        given = batch.x_mask[0].numpy() & np.isfinite(u).all(1)
        asked = batch.y_mask[0].numpy()
        out = np.zeros((len(y), len(columns)))
        out[asked] = interpolated(x[given], u[given], y[asked], schema.periodic)
        return torch.from_numpy(out).to(batch.v)[None, None]

    return predict


def interpolated(
    x: np.ndarray, u: np.ndarray, y: np.ndarray, periodic: Sequence[bool]
) -> np.ndarray:
    """Values at y by thin-plate splines through the nearest values.

    If the last axis has few distinct values (frames), a thin-plate spline is used in each frame and
    a cubic spline between the frames.
    """
    for axis in np.flatnonzero(periodic):
        turn = np.eye(x.shape[1])[axis]
        x = np.concatenate([x - turn, x, x + turn])
        u = np.concatenate([u, u, u])
    levels = np.unique(x[:, -1])
    if len(levels) > LEVELS:
        return RBFInterpolator(x, u, neighbors=NEIGHBORS)(y)
    plates = [
        RBFInterpolator(x[on, :-1], u[on], neighbors=NEIGHBORS)(y[:, :-1])
        for on in (x[:, -1] == t for t in levels)
    ]
    spline = make_interp_spline(levels, np.stack(plates), k=min(3, len(levels) - 1))
    out = np.empty((len(y), u.shape[1]))
    for t in np.unique(y[:, -1]):
        out[y[:, -1] == t] = spline(t)[y[:, -1] == t]
    return out


@torch.no_grad()
def errors(
    predict: Predictor, samples: Sequence[Sample], groups: Sequence[Sequence[int]]
) -> list[float]:
    """Mean relative L2 over the samples for every group of outputs."""
    found = []
    for one in samples:
        v_hat = predict(one)
        pairs = ((v_hat[..., group], one.v[..., group]) for group in groups)
        found.append([relative_l2(guess, v, one.y_mask).item() for guess, v in pairs])
    return [float(mean) for mean in np.mean(found, axis=0)]


@torch.no_grad()
def picture(model: Operator, sample: Sample) -> Figure:
    """Sensor values, truth, prediction and error for every output of one sample."""
    one = Sample(*(part[0] for part in sample))
    v_hat = average_over_symmetries(model, sample, (), 1e9)[0].numpy()
    outputs = enumerate(model.schema.outputs)
    cases = [
        plot.PredictedSample.from_sample(
            one, v_hat, model.schema, title=f"{name}, a test sample", channel=c
        )
        for c, name in outputs
    ]
    return plot.sample_figure(cases)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; groups are parsed into (name, variables)."""
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


def measure_all(
    data: Any, models: Sequence[Any], samples: Sequence[Sample], groups: Sequence[Sequence[int]]
) -> dict[str, list[list[float]]]:
    """Errors of the checkpoints (one row per seed), of interpolation and of the mean value."""
    schema = data.schema
    norm = Normalizer(schema, data.statistics)

    def averaged(model: Operator, symmetries: Sequence[Any]) -> list[float]:
        def predict(batch: Sample) -> Tensor:
            return average_over_symmetries(model, batch, symmetries, 1e9)

        return errors(predict, samples, groups)

    found = {"field": [averaged(model, ()) for model in models]}
    symmetries = getattr(models[0], "card", {}).get("symmetries", ())
    if symmetries:
        found["field, mean over symmetries"] = [averaged(model, symmetries) for model in models]
    seen = [
        schema.inputs.index(f"{name}_seen")
        for name in schema.outputs
        if f"{name}_seen" in schema.inputs
    ]
    if len(seen) == len(schema.outputs):
        found["interpolation"] = [errors(interpolation(norm, schema, seen), samples, groups)]
    mean_value = MeanValue(schema=schema, normalizer=norm)
    return found | {"mean value": [errors(mean_value, samples, groups)]}


def main(argv: Sequence[str] | None = None) -> None:
    """Measures the checkpoints, prints and writes the table and a figure."""
    args = arguments(argv)
    data = settings(args.problem, "")[0].data
    data.setup()
    rows = next(iter(data.tests.values()))
    samples = [collate([rows[i]]) for i in range(len(rows))]
    outputs = data.schema.outputs
    groups = [[outputs.index(name) for name in names.split(",")] for _, names in args.groups]
    models = [fields.load(path).eval() for path in args.models]
    size = f"{sum(p.numel() for p in models[0].parameters()):,}"
    body = [["", "parameters", *(f"{name} ({names})" for name, names in args.groups)]]
    for name, runs in measure_all(data, models, samples, groups).items():
        columns = [spread([run[g] for run in runs]) for g in range(len(groups))]
        body.append([name, size if name.startswith("field") else "0", *columns])
    trivial = json.loads(data.source.attrs.get("protocol", "{}")).get("trivial", {})
    for name, error in trivial.items():
        body.append([name, "0", error.removeprefix("rel. L2 "), *[""] * (len(groups) - 1)])
    table = markdown(body)
    runs = "\n".join(
        training_line("field", getattr(model, "card", {}).get("protocol", {})) for model in models
    )
    note = (
        f"Mean relative L2 over {len(samples)} test samples, norms over points and the group's "
        "variables, ± standard deviation over seeds."
    )
    command = f"python benchmarks/sensors.py {shlex.join(sys.argv[1:] if argv is None else argv)}"
    args.out.mkdir(parents=True, exist_ok=True)
    figure = picture(models[0], samples[len(samples) // 2])
    (args.out / f"sensors_{args.problem}.png").write_bytes(plot.png(figure))
    (args.out / f"sensors_{args.problem}.md").write_text(
        f"# {args.problem}: fields from sensors\n\n{table}\n\n{note}\n\n{runs}\n\n"
        f"`{command}`, torch {torch.__version__}.\n\n"
        f"![a test sample](sensors_{args.problem}.png)\n"
    )
    print(table)


if __name__ == "__main__":
    main()
