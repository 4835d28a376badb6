"""Inputs unlike those of the training: one warning with numbers, and a mark on the answer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from fields.core.protocols import Predictor
from fields.core.sample import Sample
from fields.data.novelty import TrainingRange, input_statistics
from fields.io.base import DataError

# A grid with less than this share of the points of the training grid is reported.
COARSEST = 0.5


class ExtrapolationWarning(UserWarning):
    """A prediction is requested outside what the model was trained on.

    Example:
        >>> issubclass(ExtrapolationWarning, UserWarning)
        True
    """


class ExtrapolationCheck:
    """Compare the batches of a prediction with the training range that the model keeps.

    Args:
        model: the model; one without a training range is only checked for its grid.
        shape: points along each axis of the input's grid; None for scattered points.

    Example:
        >>> import fields
        >>> check = ExtrapolationCheck(fields.load("burgers"), (16,))
        >>> check.findings()[0]
        'The input has 16 points along `x`, and the training grid had 128.'
    """

    def __init__(self, model: Predictor, shape: Sequence[int] | None):
        self.schema = model.schema
        self.range: TrainingRange | None = model.training_range
        self.shape = shape if model.schema.grid is not None else None
        self.statistics: list[np.ndarray] = []
        self.params: list[np.ndarray] = []
        self.divergence: list[str] = []

    def add(self, batch: Sample) -> None:
        """Note the inputs and the parameters of a batch."""
        if self.range is not None:
            # Batches come on the device of the model.
            given = Sample(*(part.cpu() for part in batch))
            self.statistics.append(input_statistics(given, self.schema, self.shape))
        self.params.append(batch.params.cpu().numpy())

    def add_answer(self, values: Float[Tensor, "b s m o"], batch: Sample) -> None:
        """Refuse an answer that is not finite from its first frame on; note one that diverges.

        Raises:
            DataError: no frame of a sample is finite.
        """
        finite = (torch.isfinite(values).all(-1) | ~batch.y_mask[:, None].to(values.device)).all(-1)
        if bool(finite.all()):
            return
        sample = int((~finite).any(1).int().argmax())
        first = int((~finite[sample]).int().argmax())
        if first == 0:
            largest = float(batch.u[sample].abs().max())
            raise DataError(
                f"The prediction of sample {sample} of a batch is not finite. Its input has values "
                f"up to {largest:.3g} in size; check its unit and scale."
            )
        time = float(batch.t[sample % len(batch.t), first])
        self.divergence = [
            f"The rollout diverges: it is not finite from time {time:.6g} after the given frames."
        ]

    def novelty(self) -> Float[np.ndarray, "b"] | None:
        """Novelty of every sample (see `TrainingRange`), None if the model keeps no range."""
        if self.range is None or not self.statistics:
            return None
        return self.range.novelty(np.concatenate(self.statistics))

    def findings(self) -> list[str]:
        """List what lies outside the training range, a sentence for each kind."""
        return [*self._grid(), *self._parameters(), *self._inputs(), *self.divergence]

    def mark(self, out: xr.Dataset, *, stacklevel: int = 5) -> xr.Dataset:
        """Add ``novelty`` over ``sample``, and warn and say in ``attrs`` what lies outside."""
        novelty = self.novelty()
        if novelty is not None:
            about = "distance of the input from the training samples; 1 is the limit"
            out = out.assign_coords(novelty=("sample", novelty, {"long_name": about}))
        text = self.warn(stacklevel=stacklevel + 1)
        return out.assign_attrs(extrapolation=text) if text else out

    def warn(self, *, stacklevel: int) -> str:
        """Warn once about all findings; the text of the warning, empty if there are none."""
        findings = self.findings()
        if not findings:
            return ""
        text = " ".join([*findings, "The prediction may be far off."])
        warnings.warn(text, ExtrapolationWarning, stacklevel=stacklevel)
        return text

    def _grid(self) -> list[str]:
        if self.shape is None or self.schema.grid is None:
            return []
        return [
            f"The input has {count} points along `{name}`, and the training grid had {trained}."
            for name, count, trained in zip(
                self.schema.coords, self.shape, self.schema.grid, strict=True
            )
            if count < COARSEST * trained
        ]

    def _parameters(self) -> list[str]:
        if self.range is None or not self.params:
            return []
        values = np.concatenate(self.params)
        out = []
        for name, column in zip(self.schema.params, values.T, strict=True):
            if name not in self.range.params:
                continue
            low, high = self.range.params[name]
            slack = 1e-5 * max(abs(low), abs(high))
            outside = (column < low - slack) | (column > high + slack)
            if outside.any():
                sample = int(outside.argmax())
                out.append(
                    f"The parameter `{name}` is {column[sample]:.6g} in sample {sample}, and the "
                    f"training had {low:.6g} to {high:.6g}."
                )
        return out

    def _inputs(self) -> list[str]:
        novelty = self.novelty()
        if self.range is None or novelty is None or not (novelty > 1).any():
            return []
        worst = int(novelty.argmax())
        statistics = np.concatenate(self.statistics)[worst]
        s = self.range.most_unusual(statistics)
        return [
            f"{int((novelty > 1).sum())} of {len(novelty)} inputs are unlike those of the "
            f"training: in sample {worst} the {self.range.names[s]} is {statistics[s]:.3g}, and "
            f"the training had {self.range.mean[s] + 0.0:.3g} ± {self.range.scale[s]:.2g} (novelty "
            f"{novelty[worst]:.3g}; of the validation samples, 99 % are below 1)."
        ]
