"""Draws the README's figure from shipped models, and updates its table from the default run.

Top: Burgers at four times the training resolution. Bottom: Klein–Gordon waves predicted by a
learned Hamiltonian that was trained on single steps, and the energy over 400 steps compared with
that of an unconstrained transformer. The samples are generated as in the models' test splits, so
nothing has to be downloaded or trained. The table is updated only if the default run exists.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import fields
from datasets.burgers import Burgers
from datasets.klein_gordon import KleinGordon
from fields import plot
from fields.checkpoints.checkpoint import find_checkpoint, read_header
from fields.core.sample import Sample, collate
from fields.data import FieldDataset
from fields.evaluation.rollouts import Rollouts, measure_rollouts
from fields.models.base import Operator
from fields.plot.style import (
    ERROR_COLORMAP,
    FIELD_COLORMAP,
    TRUTH_COLOR,
    color_bar,
    heading,
    new_figure,
    with_style,
)

ROOT = Path(__file__).parents[1]
SHOWN = 40  # steps of the fields
ROLLED = 400  # steps of the energies
TRAJECTORIES = 4


def main() -> None:
    """Writes docs/front.png, and the table in README.md if the default run exists."""
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "front.png").write_bytes(plot.png(front()))
    report = ROOT / "runs" / "burgers" / "report.json"
    readme = ROOT / "README.md"
    if report.is_file():
        rows = table(json.loads(report.read_text()))
        readme.write_text(
            re.sub(
                r"(?<=<!-- results:begin -->\n).*?(?=<!-- results:end -->)",
                rows,
                readme.read_text(),
                flags=re.S,
            )
        )


@with_style
def front() -> Figure:
    """The whole figure."""
    figure = new_figure(10.0, 5.9)
    above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
    case, error = burgers()
    heading(
        above,
        f"Burgers: trained on 128 points, evaluated at {len(case.y)}. "
        f"Median of 100 test samples, relative L² {error:.5f}",
    )
    still(above.subplots(1, 3), case)
    rolled, waves = klein_gordon()
    error = waves["learned Hamiltonian"].error[0, SHOWN - 1]
    heading(
        below,
        f"Klein–Gordon waves: trained on single steps, rolled out for {SHOWN} "
        f"(relative L² {error:.4f}) and {ROLLED}",
    )
    moving(below.subplots(1, 4, width_ratios=(1, 1, 1, 1.25)), rolled, waves)
    return figure


def burgers() -> tuple[plot.PredictedSample, float]:
    """The test sample with the median error at the finest resolution, and its relative L²."""
    model = fields.load("burgers")
    card = read_header(find_checkpoint("burgers"))["card"]
    score = next(s for s in card["scores"] if (s["model"], s["test"]) == ("field", "512"))
    run = json.loads(card["protocol"]["recipe"])["run"]
    index = run["samples"] - score["samples"] + score["median_index"]
    ds = Burgers().solve(range(index, index + 1), resolution=run["resolution"], seed=run["seed"])
    sample = FieldDataset(ds, model.schema)[0]
    v_hat = answer(model, sample)
    error = torch.linalg.vector_norm(v_hat - sample.v) / torch.linalg.vector_norm(sample.v)
    return plot.PredictedSample.from_sample(sample, v_hat.numpy(), model.schema, title=""), float(
        error
    )


def klein_gordon() -> tuple[plot.PredictedSample, dict[str, Rollouts]]:
    """The first test trajectory, and rollouts of several trajectories by both models."""
    problem = KleinGordon(part="test", frames=ROLLED + 1)
    ds = problem.solve(range(TRAJECTORIES), resolution=64, seed=0)
    waves = {}
    models = {
        "transformer": fields.load("klein_gordon"),
        "learned Hamiltonian": fields.load("klein_gordon_hamiltonian"),
    }
    for name, model in models.items():
        data = FieldDataset(ds, model.schema, horizon=None)
        batch = collate([data[i] for i in range(len(data))])
        waves[name] = measure_rollouts(
            name, model, [batch], quantities=problem.conserved(), quiet=True
        )
    first = data[0]._replace(t=data[0].t[:SHOWN], v=data[0].v[:SHOWN])
    return plot.PredictedSample.from_sample(
        first, answer(model, first).numpy(), model.schema, title=""
    ), waves


@torch.no_grad()
def answer(model: Operator, sample: Sample) -> torch.Tensor:
    """The prediction (s m o) for one sample."""
    return model(collate([sample]))[0]


def still(panels: np.ndarray, case: plot.PredictedSample) -> None:
    """Input, prediction with truth, and error of a static problem."""
    x = case.y[:, 0]
    panels[0].plot(x, case.u, color="#666666")
    panels[0].set(title="given: a = u(x, 0)", ylabel="a")
    panels[1].plot(x, case.v[0], color=TRUTH_COLOR, linewidth=2.4, label="truth")
    panels[1].plot(x, case.v_hat[0], "--", color="C1", label="prediction")
    panels[1].set(title="wanted: u(x, 1)", ylabel="u")
    panels[1].legend(loc="upper center")
    panels[2].plot(x, case.v_hat[0] - case.v[0], color="C0")
    panels[2].axhline(0, color="#999999", linewidth=0.8, zorder=1)
    panels[2].set(title="prediction − truth", ylabel="error of u")
    for axes in panels:
        axes.set_xlabel("x")


def moving(panels: np.ndarray, case: plot.PredictedSample, waves: dict[str, Rollouts]) -> None:
    """Truth, prediction and error over space and time, and the energies."""
    top = float(np.abs(case.v).max())
    error = case.v_hat - case.v
    worst = float(np.abs(error).max())
    rows = (
        ("truth u(x, t)", case.v, FIELD_COLORMAP, top),
        ("prediction", case.v_hat, FIELD_COLORMAP, top),
        ("prediction − truth", error, ERROR_COLORMAP, worst),
    )
    for axes, (title, values, colors, limit) in zip(panels[:3], rows, strict=True):
        scale = {"cmap": colors, "vmin": -limit, "vmax": limit}
        drawn = axes.pcolormesh(
            case.y[:, 0], case.t, values, shading="nearest", rasterized=True, **scale
        )
        axes.set(title=title, xlabel="x")
        axes.grid(False)
        color_bar(axes, drawn)
    panels[0].set_ylabel("time (one step: 0.1)")
    energy(panels[3], waves)


def energy(axes: Axes, waves: dict[str, Rollouts]) -> None:
    """Energies relative to their initial values, over the logarithm of time."""
    for (name, rolled), color in zip(waves.items(), ("C0", "C1"), strict=True):
        ours, true = rolled.quantities["energy"]
        drawn = axes.plot(rolled.times, (ours / true[:, :1]).T, color=color, linewidth=1)
        drawn[0].set_label(name)
    axes.axhline(1.0, color=TRUTH_COLOR, linewidth=0.6, zorder=1)
    axes.legend(loc="upper left")
    axes.set(
        xscale="log", xlabel=f"time ({TRAJECTORIES} rollouts each)", title="energy / initial energy"
    )


def table(report: dict) -> str:
    """The report's rows as a Markdown table, followed by the protocol."""
    lines = [
        "| model | parameters | points | rel. L2 mean | median | worst | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        seconds = "–" if row["seconds"] is None else f"{row['seconds']:.0f} s"
        numbers = " | ".join(f"{row[key]:.5f}" for key in ("mean", "median", "worst"))
        model = f"{row['model']} | {row['parameters']:,} | {row['resolution']}"
        lines.append(f"| {model} | {numbers} | {seconds} |")
    protocol = report["protocol"]
    note = (
        f"Burgers ν = 0.1, a ↦ u(1), {protocol['split']}; one seed; {protocol['machine']}; "
        f"`{protocol['command']}`."
    )
    published = (
        "Published on equivalent data (not these files): FNO 0.0160, 0.0025 with corrected code; "
        "Galerkin transformer 7e-4."
    )
    return "\n".join([*lines, "", note, published, ""])


if __name__ == "__main__":
    main()
