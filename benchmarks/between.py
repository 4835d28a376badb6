"""Errors and observed orders of a latent flow between the stored frames and beyond the horizon.

    python benchmarks/between.py klein_gordon=runs/kg_hamiltonian/model.safetensors \
        heat=runs/heat_bracket/model.safetensors

The true solution is generated at a quarter of the problem's interval. Errors are those of the
checkpoint as it is. Then every step of the integrator is divided into r = 2, 4 and 8 substeps in
double precision, and the observed order is log₂ |z₁ − z₂| / |z₂ − z₄|, where z_r is the decoded
field with r substeps: 1 for a first-order method, 2 for a second-order method.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
import xarray as xr

import fields
from benchmarks.tables import markdown
from datasets.__main__ import catalogue
from datasets.evolution import Evolution
from fields.core.sample import Sample, collate
from fields.data import FieldDataset, schema_of
from fields.metrics.losses import relative_l2
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import LatentFlow
from fields.processors.stack import Stack

FRAMES = (0.25, 0.5, 1.0, 1.75, 4.0, 10.25, 39.5, 40.0)  # evaluated times, in frames
PARTS = 4  # generated frames per stored frame
SUBSTEPS = (1, 2, 4, 8)


def truth(
    problem: type[Evolution], frames: Sequence[float], samples: int, resolution: int
) -> Sample:
    """Test trajectories whose targets lie at the given frames, which may be fractions."""
    finer = type(
        problem.__name__,
        (problem,),
        {"interval": problem.interval / PARTS, "__abstractmethods__": frozenset()},
    )
    made = finer(part="test", frames=round(PARTS * frames[-1]) + 1).generate(
        samples=samples, resolution=resolution
    )
    ds = xr.concat(made, "sample", data_vars="minimal")
    rows = FieldDataset(ds, schema_of(ds), horizon=round(PARTS * frames[-1]))
    batch = collate([rows[i] for i in range(samples)])
    chosen = [round(PARTS * frame) - 1 for frame in frames]
    return batch._replace(v=batch.v[:, chosen], t=batch.t[:, chosen])


def refined(model: EvolutionOperator, substeps: int) -> EvolutionOperator:
    """A copy in double precision with every integrator step divided into ``substeps``."""
    out = copy.deepcopy(model).double()
    for block in cast(Stack, out.processor).blocks:
        block.steps = block.steps * substeps
        block.h_max = block.h_max / substeps
    return out


@torch.no_grad()
def rows(problem: str, path: str, samples: int) -> list[list[str]]:
    """Rows of the table: errors, the change from halving the step, and observed orders."""
    model = fields.load(path).eval()
    if (
        not isinstance(model, EvolutionOperator)
        or not isinstance(model.propagator, LatentFlow)
        or model.schema.grid is None
    ):
        raise SystemExit(
            f"between: {path} is not a latent flow on a grid, so it has no integrator to refine."
        )
    batch = truth(catalogue()[problem], FRAMES, samples, model.schema.grid[0])  # type: ignore[arg-type]
    v_hat = model(batch)
    errors = [
        relative_l2(v_hat[:, s : s + 1], batch.v[:, s : s + 1], batch.y_mask).mean()
        for s in range(len(FRAMES))
    ]
    exact = Sample(
        *(x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in batch)
    )
    answers = [refined(model, substeps)(exact) for substeps in SUBSTEPS]
    size = answers[-1].square().sum((0, 2, 3)).sqrt()
    change = [
        (coarse - fine).square().sum((0, 2, 3)).sqrt() / size
        for coarse, fine in itertools.pairwise(answers)
    ]
    orders = [(coarse / fine).log2() for coarse, fine in itertools.pairwise(change)]
    method = model.propagator.processor.blocks[-1].integrator
    return [
        [f"{problem}, `{type(method).__name__}`", "error", *(f"{e:.4f}" for e in errors)],
        ["", "change from halving the step", *(f"{c:.1e}" for c in change[0])],
        [
            "",
            f"observed order (stated: {method.order})",
            *(", ".join(f"{one[s]:.2f}" for one in orders) for s in range(len(FRAMES))),
        ],
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table and writes it with its protocol."""
    out = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out.add_argument("models", nargs="+", help="PROBLEM=CHECKPOINT")
    out.add_argument("--samples", type=int, default=20, help="test trajectories")
    out.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "between.md")
    args = out.parse_args(argv)
    problems = {name: kind for name, kind in catalogue().items() if issubclass(kind, Evolution)}
    for model in args.models:
        name, _, path = model.partition("=")
        if name not in problems or not Path(path).is_file():
            known = ", ".join(problems)
            out.error(
                f"{model!r} is not PROBLEM=CHECKPOINT with an evolution problem ({known}) and an "
                "existing file. Train the model first."
            )
    body = [
        row for model in args.models for row in rows(*model.split("=", 1), samples=args.samples)
    ]
    head = ["", "", *(f"{frame:g}" for frame in FRAMES)]
    table = markdown([head, *body])
    command = f"python benchmarks/between.py {shlex.join(sys.argv[1:] if argv is None else argv)}"
    note = (
        f"Mean relative L2 over {args.samples} test trajectories; times in frames, of which "
        "training saw the integers; true solutions from the generators at a quarter of their "
        "interval. *Change from halving the step*: |z₁ − z₂|/|z| of the decoded fields, where z_r "
        "has every integrator step divided into r, in double precision. *Observed order*: "
        "log₂ |z₁ − z₂|/|z₂ − z₄|, log₂ |z₂ − z₄|/|z₄ − z₈|."
    )
    args.out.write_text(
        f"# Between the stored frames\n\n{table}\n\n{note}\n\n"
        f"`{command}`, torch {torch.__version__}.\n"
    )
    print(table)


if __name__ == "__main__":
    main()
