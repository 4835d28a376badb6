"""The command predict."""

from __future__ import annotations

import json as json_
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

SAMPLES_AT_ONCE = 16  # predicted between two updates of the progress bar


def predict_file(
    checkpoint: str,
    source: Path,
    *,
    out: Path,
    at: str | None = None,
    times: list[float] | None = None,
    symmetrize: bool = False,
    json: bool = False,
) -> int:
    """Predict every sample of a file with a trained model and write the fields as netCDF.

    Args:
        checkpoint: a checkpoint file, or the name of a shipped model.
        source: a data file of any layout, with the model's inputs.
        out: the file to write.
        at: points per axis of another regular grid over the domain, such as 256x256; by default the
            source's own points.
        times: of evolution problems, such as 0.1,0.25,3 from the last given frame; by default those
            that the source stores.
        symmetrize: average over the problem's mirror and swap symmetries, at a multiple of the
            cost.
        json: print JSON for programs.
    """
    from fields.checkpoints.checkpoint import find_checkpoint, load
    from fields.core.files import check_not_source, writable_target
    from fields.inference.extrapolation import ExtrapolationWarning
    from fields.inference.targets import regular_grid
    from fields.io import open_dataset
    from fields.io.tools.terminal import progress_bar
    from fields.io.writer import write_dataset

    check_not_source(out, source, find_checkpoint(checkpoint))
    writable_target(out)  # refuses before the work
    model = load(checkpoint)
    ds = open_dataset(source)
    symmetries = getattr(model, "card", {}).get("symmetries", ()) if symmetrize else ()
    points = None if at is None else regular_grid(at, model.schema)
    total = ds.sizes.get("sample", 1)
    parts: list[xr.Dataset] = []
    with warnings.catch_warnings(), progress_bar(quiet=json) as progress:
        warnings.simplefilter("ignore", ExtrapolationWarning)  # reported once, after the last part
        for start in range(0, total, SAMPLES_AT_ONCE):
            end = min(start + SAMPLES_AT_ONCE, total)
            some = ds.isel(sample=slice(start, end)) if "sample" in ds.dims else ds
            parts.append(model.predict(some, at=points, times=times, symmetries=symmetries))
            progress("predicting", end, total)
    answer = parts[0] if len(parts) == 1 else _concatenated(parts)
    report = _extrapolation(parts, answer)
    if report:
        answer.attrs["extrapolation"] = report
        print(f"warning: {report}", file=sys.stderr)
    write_dataset(answer, out)
    sizes = dict(answer.sizes)
    if json:
        print(json_.dumps({"out": str(out), "sizes": sizes}))
        return 0
    print(f"wrote {out}: {', '.join(map(str, answer.data_vars))} over {sizes}")
    print(f"next: python -m fields inspect {out} --picture {out.with_suffix('.png')}")
    return 0


def _extrapolation(parts: list[xr.Dataset], answer: xr.Dataset) -> str:
    """What the parts of a prediction say about inputs outside the training range; "" if nothing."""
    marked = [i for i, part in enumerate(parts) if "extrapolation" in part.attrs]
    if not marked:
        return ""
    text = str(parts[marked[0]].attrs["extrapolation"])
    if len(parts) == 1:
        return text
    first = marked[0] * SAMPLES_AT_ONCE
    last = first + parts[marked[0]].sizes["sample"] - 1
    count = int((answer["novelty"] > 1).sum()) if "novelty" in answer.coords else 0
    total = f"{count} of {answer.sizes['sample']} inputs are unlike those of the training. "
    return f"{total if count else ''}Of samples {first} to {last}, counted from 0: {text}"


def _concatenated(parts: list[xr.Dataset]) -> xr.Dataset:
    """Parts of one prediction along samples; what has no samples is that of the first."""
    import xarray as xr

    return xr.concat(parts, "sample", data_vars="minimal", coords="minimal", compat="override")
