"""Times between the stored frames and beyond the trained horizon: errors there, and what the integrator's own step does to them.

    python benchmarks/between.py klein_gordon=runs/kg_hamiltonian/model.safetensors
    heat=runs/heat_bracket/model.safetensors

Truth is made by the problem's generator at a quarter of its interval. Errors are of the checkpoint
as it is. Then every step of the flow is cut into 2, 4 and 8 in double precision, and the order is
log₂ |z₁ − z₂| / |z₂ − z₄| of the decoded fields, z_r with steps
cut into r: 1 for a method of first order, 2 for one of second.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import xarray as xr

import fields
from benchmarks.board import markdown
from datasets.__main__ import catalogue
from datasets.evolution import Evolution
from fields.core.sample import Sample, collate
from fields.data import FieldDataset, schema_of
from fields.metrics.losses import relative_l2
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import LatentFlow
from fields.processors.stack import Stack

FRAMES = (0.25, 0.5, 1.0, 1.75, 4.0, 10.25, 39.5, 40.0)  # times asked for, in frames
PARTS = 4  # of a frame, in which truth is made
CUTS = (1, 2, 4, 8)


def truth(
    problem: type[Evolution], frames: Sequence[float], samples: int, resolution: int
) -> Sample:
    """Test trajectories with targets at these frames."""
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


def refined(model: EvolutionOperator, cut: int) -> EvolutionOperator:
    """The same flow in double precision, every step cut into ``cut``."""
    out = copy.deepcopy(model).double()
    for block in cast(Stack, out.processor).blocks:
        block.steps, block.h_max = block.steps * cut, block.h_max / cut
    return out


@torch.no_grad()
def rows(problem: str, path: str, samples: int) -> list[list[str]]:
    """Errors, what the first cut changes, and the orders seen, at every time."""
    model = fields.load(path).eval()
    if (
        not isinstance(model, EvolutionOperator)
        or not isinstance(model.propagator, LatentFlow)
        or model.schema.grid is None
    ):
        raise SystemExit(f"between: {path} is no flow in time on a grid. Give one.")
    batch = truth(catalogue()[problem], FRAMES, samples, model.schema.grid[0])  # type: ignore[arg-type]
    v_hat = model(batch)
    errors = [
        relative_l2(v_hat[:, s : s + 1], batch.v[:, s : s + 1], batch.y_mask).mean()
        for s in range(len(FRAMES))
    ]
    exact = Sample(
        *(x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in batch)
    )
    answers = [refined(model, cut)(exact) for cut in CUTS]
    size = answers[-1].square().sum((0, 2, 3)).sqrt()
    change = [
        (coarse - fine).square().sum((0, 2, 3)).sqrt() / size
        for coarse, fine in itertools.pairwise(answers)
    ]
    orders = [(coarse / fine).log2() for coarse, fine in itertools.pairwise(change)]
    method = model.propagator.processor.blocks[-1].integrator
    return [
        [f"{problem}, `{type(method).__name__}`", "error", *(f"{e:.4f}" for e in errors)],
        ["", "half the step changes", *(f"{c:.1e}" for c in change[0])],
        [
            "",
            f"order, stated {method.order}",
            *(", ".join(f"{one[s]:.2f}" for one in orders) for s in range(len(FRAMES))),
        ],
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints and writes a table in Markdown."""
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
                f"{model!r} is no PROBLEM=CHECKPOINT of a problem in time ({known}) and a file that exists. Train it first."
            )
    body = [
        row for model in args.models for row in rows(*model.split("=", 1), samples=args.samples)
    ]
    head = ["", "", *(f"{frame:g}" for frame in FRAMES)]
    table = markdown([head, *body])
    command = f"python benchmarks/between.py {shlex.join(sys.argv[1:] if argv is None else argv)}"
    note = (
        f"Mean relative L2 over {args.samples} test trajectories at times in frames, of which training saw whole ones; truth from "
        "the generators at a quarter of their interval. *Half the step changes*: |z₁ − z₂|/|z| of the decoded fields, z_r with "
        "every step of the integrator cut into r, in double precision. *Order*: log₂ |z₁ − z₂|/|z₂ − z₄|, log₂ |z₂ − z₄|/|z₄ − z₈|."
    )
    args.out.write_text(
        f"# Between the stored frames\n\n{table}\n\n{note}\n\n`{command}`, torch {torch.__version__}.\n"
    )
    print(table)


if __name__ == "__main__":
    main()
