"""Compares checkpoints of one evolution problem far beyond the training horizon.

    python benchmarks/rollouts.py --problem klein_gordon \
        transformer=runs/klein_gordon/model.safetensors \
        hamiltonian=runs/kg_hamiltonian/model.safetensors FNO=runs/klein_gordon/fno.safetensors

Every model is rolled out on the test trajectories of ``configs/PROBLEM.yaml``. The table shows
errors at 1, 2, 4, 10, 40 and 100 times the training horizon (as far as the trajectories reach),
diverged trajectories, violations of the latent law and errors of decoded invariants, next to those
of persistence (the last given frame). A name that occurs several times is one model trained with
several seeds. Measurements of a checkpoint are cached in ``--folder`` until a file changes.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fields
from benchmarks.cache import cached, digest
from benchmarks.runs import ROOT, settings
from benchmarks.tables import markdown, spread, training_line
from fields import plot
from fields.baselines.trivial import Persistence
from fields.core.sample import Sample, collate
from fields.data.normalizer import Normalizer
from fields.evaluation.metric_set import BLOW_UPS, CORRELATION_TIME, TRAJECTORY_ERROR
from fields.evaluation.rollouts import ZERO_TOLERANCE, Rollouts, measure_rollouts, report_steps
from fields.evaluation.verify import certify
from fields.models.base import Operator
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import LatentFlow
from fields.training.catalogue import lawful_quantities

Measured = dict[str, Any]


def summary(r: Rollouts, law: Measured | None, trained: int) -> Measured:
    """The cached part of a rollout: means over trajectories and errors of the invariants."""
    return {
        "parameters": r.parameters,
        "times": r.times.tolist(),
        "error": r.error.mean(0).tolist(),
        "trajectory": float(r.metrics[TRAJECTORY_ERROR]),
        "diverged": int(r.metrics[BLOW_UPS]),
        "trajectories": len(r.error),
        "correlated": float(r.metrics[CORRELATION_TIME]),
        "drift": {name: r.drift(name).tolist() for name in r.quantities},
        "bound": {
            name: float(r.drift(name).max() / max(r.drift(name)[trained - 1], ZERO_TOLERANCE))
            for name in r.quantities
        },
        "law": law,
    }


def latent_law(model: Operator, batches: Sequence[Sample], samples: int) -> Measured | None:
    """The certificate of a latent flow over the whole rollout of ``samples`` test trajectories.

    None for models that are not latent flows.
    """
    if not isinstance(model, EvolutionOperator) or not isinstance(model.propagator, LatentFlow):
        return None
    first: Sample = batches[0]
    u = torch.cat([b.u for b in batches])[:samples]
    params = torch.cat([b.params for b in batches])[:samples]
    selected = first._replace(u=u, params=params)
    return certify(model, selected, steps=1, frames=first.t.shape[1]).to_dict()


def measured_once(
    path: Path, folder: Path, test: Path, measure: Callable[[], Measured]
) -> Measured:
    """Measurements of a checkpoint on a test file, cached until one of the two files changes."""
    key = [
        hashlib.sha256(path.read_bytes()).hexdigest(),
        str(test),
        test.stat().st_size,
        test.stat().st_mtime_ns,
    ]
    file = folder / f"{digest(key)}.json"
    return cached(file, lambda: {"checkpoint": str(path), **measure()})


def table(models: Mapping[str, Sequence[Measured]], shown: Sequence[int], trained: int) -> str:
    """The Markdown table; mean ± standard deviation over seeds."""
    quantities = list(next(iter(models.values()))[0]["drift"])
    head = [
        "model",
        "parameters",
        *(f"{s} ({s / trained:g}×)" for s in shown),
        "trajectory",
        "diverged",
        "latent law, float32",
    ]
    far = [s for s in (trained, 10 * trained, shown[-1]) if s <= shown[-1]]
    head += [f"{q} error at {s}" for q in quantities for s in dict.fromkeys(far)]
    head += [f"{q}: largest / at {trained}" for q in quantities]
    rows = []
    for name, runs in models.items():
        row = [
            name,
            f"{runs[0]['parameters']:,}",
            *(spread([r["error"][s - 1] for r in runs]) for s in shown),
        ]
        row += [
            spread([r["trajectory"] for r in runs]),
            f"{sum(r['diverged'] for r in runs)} of {sum(r['trajectories'] for r in runs)}",
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
    return (
        f"{law['law']}: violated by at most {single['violation']:.1e} in {law['samples']} "
        f"rollouts, {law['verdict']}"
    )


def pictures(models: Mapping[str, Sequence[Measured]], trained: int) -> dict[str, bytes]:
    """Figures of the error and of every invariant's error over time, with the range over seeds."""
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
            y_label=f"{q}: relative error",
            trained_to=end,
        )
        out[q] = plot.png(drawn)
    return out


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; models are parsed into (name, path)."""
    out = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cache = ROOT / "runs" / "rollouts"
    results = ROOT / "benchmarks" / "results"
    add = out.add_argument
    add("models", nargs="+", help="NAME=CHECKPOINT; a name may occur several times, once per seed")
    add("--problem", required=True, help="a file of configs/ without .yaml")
    add("--samples", type=int, default=100, help="largest number of test trajectories")
    add("--certified", type=int, default=100, help="trajectories for the latent law (expensive)")
    add("--folder", type=Path, default=cache, help="cached measurements")
    add("--out", type=Path, default=results, help="folder of the table and figures")
    add("--name", default=None, help="stem of the files; default: rollouts_PROBLEM")
    args, args.extra = out.parse_known_args(argv)
    args.models = [tuple(word.split("=", 1)) for word in args.models]
    for model in args.models:
        if len(model) != 2 or not Path(model[1]).is_file():
            word = "=".join(model)
            out.error(f"{word!r} is not NAME=CHECKPOINT with an existing file. Train it first.")
    return args


def measure_all(
    args: argparse.Namespace, data: Any, batches: list[Sample]
) -> dict[str, list[Measured]]:
    """Measurements of every checkpoint, one per seed, and of persistence."""
    quantities = lawful_quantities(data.source)
    trained = data.train.horizon
    test = Path((data.test_paths or (data.path,))[0])
    folder = args.folder / f"{args.problem}_{sum(len(batch.u) for batch in batches)}"
    models: dict[str, list[Measured]] = {}
    for name, path in args.models:

        def measure(name: str = name, path: str = path) -> Measured:
            model = fields.load(path)
            protocol = getattr(model, "card", {}).get("protocol", {})
            law = latent_law(model, batches, args.certified)
            rollouts = measure_rollouts(name, model, batches, quantities=quantities)
            keys = ("command", "seconds", "split", "machine")
            record = {key: protocol.get(key) for key in keys}
            return summary(rollouts, law, trained) | {"trained": record}

        models.setdefault(name, []).append(measured_once(Path(path), folder, test, measure))
    normalizer = Normalizer(data.schema, data.statistics)
    still = Persistence(schema=data.schema, normalizer=normalizer)
    rollouts = measure_rollouts("persistence", still, batches, quantities=quantities)
    return models | {"persistence": [summary(rollouts, None, trained)]}


def note(samples: int, steps: int, trained: int) -> str:
    """The protocol under the table."""
    horizon = "1 step" if trained == 1 else f"{trained} steps"
    return (
        f"Relative L2 of the step, over all channels, mean over {samples} test trajectories of "
        f"{steps} predicted steps (given frames not counted); the training horizon is {horizon}. "
        "*Trajectory*: ‖v̂ − v‖/‖v‖ of the whole trajectory. *Diverged*: not finite, or above ten "
        "times the largest value of the truth, at any step. *Error of an invariant Q*: mean "
        "|Q(v̂) − Q(v)| over the root mean square of the first Q(v). "
        f"*Largest / at {trained}*: its maximum over all steps divided by its value at step "
        f"{trained}, where values below {ZERO_TOLERANCE:g} count as {ZERO_TOLERANCE:g} "
        "(rounding errors in single precision). Mean ± standard deviation over seeds."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measures the checkpoints that are not cached, and writes the table and figures."""
    args = arguments(argv)
    data = settings(args.problem, "", args.extra)[0].data
    data.setup()
    rows = next(iter(data.tests.values()))
    chosen = [rows[i] for i in range(min(args.samples, len(rows)))]
    batches = [collate(chosen[i : i + 20]) for i in range(0, len(chosen), 20)]
    trained = data.train.horizon
    steps = batches[0].v.shape[1]
    models = measure_all(args, data, batches)
    words = table(models, report_steps(trained, steps), trained)
    stem = args.name or f"rollouts_{args.problem}"
    command = f"python benchmarks/rollouts.py {' '.join(sys.argv[1:] if argv is None else argv)}"
    runs = "\n".join(
        training_line(name, run["trained"])
        for name, ones in models.items()
        for run in ones
        if "trained" in run
    )
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    args.out.mkdir(parents=True, exist_ok=True)
    drawn = pictures(models, trained)
    for kind, png in drawn.items():
        (args.out / f"{stem}_{kind}.png").write_bytes(png)
    shown = "\n".join(f"![{kind}]({stem}_{kind}.png)" for kind in drawn)
    (args.out / f"{stem}.md").write_text(
        f"# {args.problem}: rollouts\n\n{words}\n\n{note(len(chosen), steps, trained)}\n\n"
        f"{runs}\n\n{machine}; `{command}`.\n\n{shown}\n"
    )
    print(words)


if __name__ == "__main__":
    main()
