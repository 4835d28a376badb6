"""Brings the default run into the README: its picture at the finest test resolution, and its table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

import fields
from fields import plot
from fields.data import FieldDataset, split_indices
from fields.metrics import RelativeL2, median_and_worst
from fields.sample import collate

ROOT = Path(__file__).parents[1]


def main() -> None:
    model = fields.load(ROOT / "runs" / "burgers" / "model.safetensors")
    ds = fields.open_dataset(ROOT / "data" / "burgers.h5")
    data = FieldDataset(ds, model.schema, indices=split_indices(ds, validation=0, test=0, seed=0)["test"])
    metric, answers = RelativeL2(), []
    with torch.no_grad():
        for i in range(len(data)):
            batch = collate([data[i]])
            answers.append(model(batch))
            metric.update(answers[-1], batch.v, batch.y_mask)
    errors = metric.per_sample()
    middle, worst = median_and_worst(errors)
    cases = [
        plot.Case.from_sample(
            data[i], answers[i][0], model.schema, title=f"{word} of {len(data)} test samples, error {float(errors[i]):.4f}"
        )
        for word, i in (("median", middle), ("worst", worst))
    ]
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "burgers.png").write_bytes(plot.png(plot.sample_figure(cases)))
    readme = ROOT / "README.md"
    text = re.sub(r"(?<=<!-- results:begin -->\n).*?(?=<!-- results:end -->)", table(), readme.read_text(), flags=re.S)
    readme.write_text(text)


def table() -> str:
    """The report's rows as Markdown, with the protocol under them."""
    report = json.loads((ROOT / "runs" / "burgers" / "report.json").read_text())
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
