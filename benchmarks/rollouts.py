"""How trained models of one problem in time fare far past their training: errors, blow-ups, latent laws, decoded invariants.

    python benchmarks/rollouts.py --problem klein_gordon
    transformer=runs/klein_gordon/model.safetensors \
        hamiltonian=runs/kg_hamiltonian/model.safetensors FNO=runs/klein_gordon/fno.safetensors

Every model is rolled out on all test trajectories of ``configs/PROBLEM.yaml`` and judged at 1, 2,
4, 10, 40 and 100 times the trained horizon, as far as the trajectories go. A name given several
times is one model of several seeds. Persistence (nothing changes) stands beside them. What was
measured of a checkpoint is kept in ``--folder`` until the file changes.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

import fields
from benchmarks.board import markdown, spread
from benchmarks.board import trained as trained_as
from benchmarks.cells import ROOT, settings
from benchmarks.kept import kept, stamp
from fields import plot
from fields.baselines.trivial import Persistence
from fields.core.sample import Sample, collate
from fields.data.normalizer import Normalizer
from fields.evaluation.rollouts import ZERO_TOLERANCE, Rollouts, measure_rollouts, report_steps
from fields.evaluation.verify import certify
from fields.models.base import Operator
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import LatentFlow
from fields.processors.stack import Stack
from fields.training.catalogue import lawful_quantities

Measured = dict[str, Any]


def summary(r: Rollouts, law: Measured | None, trained: int) -> Measured:
    """What is kept of a rollout: means over trajectories, and how far every quantity is from the truth's at each step."""
    return {
        "parameters": r.parameters,
        "times": r.times.tolist(),
        "error": r.error.mean(0).tolist(),
        "whole": float(r.whole.mean()),
        "blown": r.blown,
        "trajectories": len(r.error),
        "correlated": r.correlated(),
        "drift": {name: r.drift(name).tolist() for name in r.quantities},
        "bound": {
            name: float(r.drift(name).max() / max(r.drift(name)[trained - 1], ZERO_TOLERANCE))
            for name in r.quantities
        },
        "law": law,
    }


def latent_law(model: Operator, batches: Sequence[Sample], samples: int) -> Measured | None:
    """The certificate of a flow in time over so many test trajectories, to the end of the rollout; None where there is no flow."""
    if not isinstance(model, EvolutionOperator) or not isinstance(model.propagator, LatentFlow):
        return None
    first: Sample = batches[0]
    u, params = (
        torch.cat([getattr(b, name) for b in batches])[:samples] for name in ("u", "params")
    )
    whole = first._replace(u=u, params=params)
    flow: Stack = model.propagator.processor
    per_pass = (
        flow.blocks[-1].steps if flow.owns_energy else sum(block.steps for block in flow.blocks)
    )
    return certify(
        model, whole, steps=per_pass * round(model.times(first.t)[-1] / flow.dt)
    ).to_dict()


def cached(path: Path, folder: Path, test: Path, how: Callable[[], Measured]) -> Measured:
    """What was measured of a checkpoint on a test file, from disk unless one of the two has changed."""
    seen = [
        hashlib.sha256(path.read_bytes()).hexdigest(),
        str(test),
        test.stat().st_size,
        test.stat().st_mtime_ns,
    ]
    result: Measured = kept(
        folder / f"{stamp(seen)}.json", lambda: {"checkpoint": str(path), **how()}
    )
    return result


def table(models: Mapping[str, Sequence[Measured]], shown: Sequence[int], trained: int) -> str:
    """Markdown, mean ± standard deviation over seeds."""
    quantities = list(next(iter(models.values()))[0]["drift"])
    head = [
        "model",
        "parameters",
        *(f"{s} ({s / trained:g}×)" for s in shown),
        "whole",
        "blown up",
        "latent law, float32",
    ]
    far = [s for s in (trained, 10 * trained, shown[-1]) if s <= shown[-1]]
    head += [f"{q} off at {s}" for q in quantities for s in dict.fromkeys(far)]
    head += [f"{q}: largest / at {trained}" for q in quantities]
    rows = []
    for name, runs in models.items():
        row = [
            name,
            f"{runs[0]['parameters']:,}",
            *(spread([r["error"][s - 1] for r in runs]) for s in shown),
        ]
        row += [
            spread([r["whole"] for r in runs]),
            f"{sum(r['blown'] for r in runs)} of {sum(r['trajectories'] for r in runs)}",
        ]
        row.append("; ".join(dict.fromkeys(_verdict(r["law"]) for r in runs)))
        row += [
            spread([r["drift"][q][s - 1] for r in runs])
            for q in quantities
            for s in dict.fromkeys(far)
        ]
        row += [spread([r["bound"][q] for r in runs]) for q in quantities]
        rows.append(row)
    return markdown([head, *rows])


def _verdict(law: Measured | None) -> str:
    if law is None or not law["findings"]:
        return "none claimed"
    single = next(f for f in law["findings"] if f["dtype"] == "float32")
    return f"{law['law']}: off by at most {single['violation']:.1e} in {law['samples']} rollouts, {law['verdict']}"


def pictures(models: Mapping[str, Sequence[Measured]], trained: int) -> dict[str, bytes]:
    """Error and drift of every quantity in time, with the range over seeds."""
    first = next(iter(models.values()))[0]
    times = np.array(first["times"])

    def curves(of: Callable[[Measured], list[float]]) -> dict[str, plot.Curve]:
        every = {name: np.array([of(run) for run in runs]) for name, runs in models.items()}
        return {name: plot.Curve(times, v.mean(0), v.min(0), v.max(0)) for name, v in every.items()}

    end = float(times[trained - 1])
    drawn = plot.time_figure(
        curves(lambda r: r["error"]), y_label="mean relative L2 of the step", trained_to=end
    )
    out = {"error": plot.png(drawn)}
    for q in first["drift"]:
        drawn = plot.time_figure(
            curves(lambda r, q=q: r["drift"][q]),
            y_label=f"{q}: off the truth's, relative",
            trained_to=end,
        )
        out[q] = plot.png(drawn)
    return out


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; models are read as (name, path)."""
    out = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out.add_argument(
        "models", nargs="+", help="NAME=CHECKPOINT; a name may come several times, once per seed"
    )
    out.add_argument("--problem", required=True, help="a file of configs/ without .yaml")
    out.add_argument("--samples", type=int, default=100, help="test trajectories at most")
    out.add_argument(
        "--certified",
        type=int,
        default=100,
        help="of them, how many are followed for the latent law (costly)",
    )
    out.add_argument(
        "--folder", type=Path, default=ROOT / "runs" / "rollouts", help="what was measured before"
    )
    out.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results", help="table and pictures"
    )
    out.add_argument(
        "--name", default=None, help="of the files written; by default rollouts_PROBLEM"
    )
    args, args.extra = out.parse_known_args(argv)
    args.models = [tuple(word.split("=", 1)) for word in args.models]
    for model in args.models:
        if len(model) != 2 or not Path(model[1]).is_file():
            out.error(
                f"{'='.join(model)!r} is no NAME=CHECKPOINT with an existing file. Train the model first."
            )
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what is not known yet, and writes table and pictures."""
    args = arguments(argv)
    data = settings(args.problem, "", args.extra)[0].data
    data.setup()
    rows = next(iter(data.tests.values()))
    chosen = [rows[i] for i in range(min(args.samples, len(rows)))]
    batches = [collate(chosen[i : i + 20]) for i in range(0, len(chosen), 20)]
    quantities, trained, steps = (
        lawful_quantities(data.source),
        data.train.horizon,
        batches[0].v.shape[1],
    )
    test, models = Path((data.test_paths or (data.path,))[0]), {}
    for name, path in args.models:

        def fresh(name: str = name, path: str = path) -> Measured:
            model = fields.load(path)
            protocol = getattr(model, "card", {}).get("protocol", {})
            law = latent_law(model, batches, args.certified)
            measured = summary(
                measure_rollouts(name, model, batches, quantities=quantities), law, trained
            )
            return measured | {
                "trained": {
                    key: protocol.get(key) for key in ("command", "seconds", "split", "machine")
                }
            }

        models.setdefault(name, []).append(
            cached(Path(path), args.folder / f"{args.problem}_{len(chosen)}", test, fresh)
        )
    still = Persistence(schema=data.schema, normalizer=Normalizer(data.schema, data.statistics))
    models["persistence"] = [
        summary(
            measure_rollouts("persistence", still, batches, quantities=quantities), None, trained
        )
    ]
    words = table(models, report_steps(trained, steps), trained)
    stem = args.name or f"rollouts_{args.problem}"
    command = f"python benchmarks/rollouts.py {' '.join(sys.argv[1:] if argv is None else argv)}"
    runs = "\n".join(
        trained_as(name, run["trained"])
        for name, ones in models.items()
        for run in ones
        if "trained" in run
    )
    note = (
        f"Relative L2 of the step, channels jointly, mean over {len(chosen)} test trajectories of {steps} predicted steps (given "
        f"frames not counted), counted in the configuration's windows of {trained}. *Whole*: ‖v̂ − v‖/‖v‖ of the trajectory. "
        "*Blown up*: not finite, or ten times the largest value of the truth, at any step. *Off*: mean |Q(v̂) − Q(v)| over the "
        f"root mean square of the first Q(v). *Largest / at {trained}*: of that over all steps; less than {ZERO_TOLERANCE:g} counts as "
        f"{ZERO_TOLERANCE:g}, what single precision leaves of a zero. Mean ± standard deviation over seeds.\n\n{runs}\n\n"
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; `{command}`."
    )
    args.out.mkdir(parents=True, exist_ok=True)
    drawn = pictures(models, trained)
    for kind, png in drawn.items():
        (args.out / f"{stem}_{kind}.png").write_bytes(png)
    shown = "\n".join(f"![{kind}]({stem}_{kind}.png)" for kind in drawn)
    (args.out / f"{stem}.md").write_text(
        f"# {args.problem}: rollouts\n\n{words}\n\n{note}\n\n{shown}\n"
    )
    print(words)


if __name__ == "__main__":
    main()
