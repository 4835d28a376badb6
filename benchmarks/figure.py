"""Draws the picture of the README from the default run: input, truth, prediction, error at the finest test resolution."""

from __future__ import annotations

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


if __name__ == "__main__":
    main()
