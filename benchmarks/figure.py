"""The README's picture, from shipped models, and its table, from the default run if that has been made.

Above: Burgers at four times the training resolution. Below: Klein–Gordon waves to ten times the trained horizon, and their energy
to a hundred times. The samples are those of the models' test splits, made anew; nothing needs to be downloaded or trained.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import fields
from datasets.burgers import Burgers
from datasets.klein_gordon import KleinGordon
from fields import plot
from fields.checkpoint import find, read_header
from fields.data import FieldDataset
from fields.evolution.rollouts import Rollouts, measure
from fields.operator import Operator
from fields.plot.style import ERROR_MAP, FIELD_MAP, TRUTH, colour_bar, heading, new_figure, styled
from fields.sample import Sample, collate

ROOT = Path(__file__).parents[1]
HORIZON, TRAJECTORIES = 4, 4  # frames that training saw; how many are rolled out


def main() -> None:
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "front.png").write_bytes(plot.png(front()))
    report, readme = ROOT / "runs" / "burgers" / "report.json", ROOT / "README.md"
    if report.is_file():
        rows = table(json.loads(report.read_text()))
        readme.write_text(re.sub(r"(?<=<!-- results:begin -->\n).*?(?=<!-- results:end -->)", rows, readme.read_text(), flags=re.S))


@styled
def front() -> Figure:
    figure = new_figure(10.0, 5.9)
    above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
    case, error = burgers()
    heading(above, f"Burgers: trained on 128 points, asked at {len(case.y)}. Median of 100 test samples, relative L² {error:.5f}")
    still(above.subplots(1, 3), case)
    rolled, waves = klein_gordon()
    heading(below, "Klein–Gordon waves: trained on windows of 4 frames, rolled out for 40 (fields) and 400 (energy)")
    moving(below.subplots(1, 4, width_ratios=(1, 1, 1, 1.25)), rolled, waves)
    return figure


def burgers() -> tuple[plot.Case, float]:
    """The sample with the median error at the finest test resolution, as the model's card names it."""
    model, card = fields.load("burgers"), read_header(find("burgers"))["card"]
    score = next(s for s in card["scores"] if (s["model"], s["test"]) == ("field", "512"))
    run = json.loads(card["protocol"]["recipe"])["run"]
    index = run["samples"] - score["samples"] + score["median_index"]
    ds = Burgers().solve(range(index, index + 1), resolution=run["resolution"], seed=run["seed"])
    sample = FieldDataset(ds, model.schema)[0]
    v_hat = answer(model, sample)
    error = torch.linalg.vector_norm(v_hat - sample.v) / torch.linalg.vector_norm(sample.v)
    return plot.Case.from_sample(sample, v_hat.numpy(), model.schema, title=""), float(error)


def klein_gordon() -> tuple[plot.Case, Rollouts]:
    """The first test trajectory, and the energy of several."""
    model, problem = fields.load("klein_gordon"), KleinGordon(part="test", frames=401)
    data = FieldDataset(problem.solve(range(TRAJECTORIES), resolution=64, seed=0), model.schema, horizon=None)
    batch = collate([data[i] for i in range(len(data))])
    waves = measure("klein_gordon", model, [batch], quantities=problem.conserved(), quiet=True)
    first = data[0]._replace(t=data[0].t[: 10 * HORIZON], v=data[0].v[: 10 * HORIZON])
    return plot.Case.from_sample(first, answer(model, first).numpy(), model.schema, title=""), waves


@torch.no_grad()
def answer(model: Operator, sample: Sample) -> torch.Tensor:
    return model(collate([sample]))[0]


def still(panels: np.ndarray, case: plot.Case) -> None:
    x = case.y[:, 0]
    panels[0].plot(x, case.u, color="#666666")
    panels[0].set(title="given: a = u(x, 0)", ylabel="a")
    panels[1].plot(x, case.v[0], color=TRUTH, linewidth=2.4, label="truth")
    panels[1].plot(x, case.v_hat[0], "--", color="C1", label="prediction")
    panels[1].set(title="wanted: u(x, 1)", ylabel="u")
    panels[1].legend(loc="upper center")
    panels[2].plot(x, case.v_hat[0] - case.v[0], color="C0")
    panels[2].axhline(0, color="#999999", linewidth=0.8, zorder=1)
    panels[2].set(title="prediction − truth", ylabel="error of u")
    for axes in panels:
        axes.set_xlabel("x")


def moving(panels: np.ndarray, case: plot.Case, waves: Rollouts) -> None:
    top, error = float(np.abs(case.v).max()), case.v_hat - case.v
    worst = float(np.abs(error).max())
    rows = (
        ("truth u(x, t)", case.v, FIELD_MAP, top, "white"),
        ("prediction", case.v_hat, FIELD_MAP, top, "white"),
        ("prediction − truth", error, ERROR_MAP, worst, "#333333"),
    )
    for axes, (title, values, colours, limit, mark) in zip(panels[:3], rows, strict=True):
        scale = {"cmap": colours, "vmin": -limit, "vmax": limit}
        drawn = axes.pcolormesh(case.y[:, 0], case.t, values, shading="nearest", rasterized=True, **scale)
        axes.axhline(case.t[HORIZON - 1], color=mark, linestyle=":", linewidth=1.4)
        axes.set(title=title, xlabel="x")
        axes.grid(False)
        colour_bar(axes, drawn)
    panels[0].set_ylabel("time (dotted: trained horizon)")
    energy(panels[3], waves)


def energy(axes: Axes, waves: Rollouts) -> None:
    ours, true = waves.quantities["energy"]
    drawn = axes.plot(waves.times, (ours / true[:, :1]).T, color="C1", linewidth=0.9, alpha=0.8)
    drawn[0].set_label(f"{len(ours)} predictions")
    axes.plot(waves.times, true[0] / true[0, 0], color=TRUTH, label="truth")
    axes.legend(loc="upper left")
    for factor in (1, 10, 100):
        time = waves.times[factor * HORIZON - 1]
        axes.axvline(time, color="#999999", linestyle=":", linewidth=1)
        axes.text(time, 0.02, f"{factor}× ", ha="right", fontsize=7, transform=axes.get_xaxis_transform())
    axes.set(xscale="log", xlabel="time", title="energy / its start")


def table(report: dict) -> str:
    """The report's rows as Markdown, with the protocol under them."""
    lines = ["| model | parameters | points | rel. L2 mean | median | worst | training |", "|---|---|---|---|---|---|---|"]
    for row in report["rows"]:
        seconds = "–" if row["seconds"] is None else f"{row['seconds']:.0f} s"
        numbers = " | ".join(f"{row[key]:.5f}" for key in ("mean", "median", "worst"))
        lines.append(f"| {row['model']} | {row['parameters']:,} | {row['resolution']} | {numbers} | {seconds} |")
    protocol = report["protocol"]
    note = f"Burgers ν = 0.1, a ↦ u(1), {protocol['split']}; one seed; {protocol['machine']}; `{protocol['command']}`."
    published = "Published on equivalent data (not these files): FNO .0160, .0025 with corrected code; Galerkin transformer 7e-4."
    return "\n".join([*lines, "", note, published, ""])


if __name__ == "__main__":
    main()
