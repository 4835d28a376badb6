"""What the losses of a training say about it: undertrained, overfitted, a single epoch, diverged.

The last tenth of the epochs, at least one, is compared with those before:

- **Undertrained**: the least validation error of the last tenth is more than 20 % below the least
  of all epochs before. The learning rate falls to zero at the end, which lowers the error by 10 to
  16 % in the last tenth of trainings that are long enough (measured on the shipped configurations).
  Of fewer than ten epochs the last is more than a tenth, and 5 % are enough.
- **Overfitted**: the mean validation error of the last tenth is more than 5 % above its minimum,
  which lies before, while the training loss has fallen from there to the end.
- **Diverged**: a loss or a validation error is not finite, or both end at more than twice their
  minima.
- **One epoch**: there is a single validation, so that nothing can be said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fields.report.results import Remark

# Share of the epochs that counts as the end of a training.
END = 0.1

# Relative decrease of the validation error at the end of a training that is too short.
FALL = 0.2

# The same for a training of fewer epochs than `FEW`.
FALL_OF_FEW = 0.05

FEW = 10

# Relative increase of the validation error after its minimum that counts as overfitting.
RISE = 0.05

# A loss that ends at this many times its minimum has diverged.
DIVERGED = 2.0


def training_remarks(history: Sequence[Mapping[str, float]]) -> list[Remark]:
    """Name what is wrong with a training; empty if nothing is, or if there is no history.

    Args:
        history: one row per epoch with "loss" and "val_error".

    Example:
        >>> falling = [{"loss": 1 / n, "val_error": 1 / n} for n in range(1, 5)]
        >>> training_remarks(falling)[0].text.split(". ")[0]
        'undertrained: the validation error still fell by 25 % in the last of 4 epochs'
    """
    if not history:
        return []
    loss = np.array([row["loss"] for row in history], dtype=float)
    error = np.array([row["val_error"] for row in history], dtype=float)
    found = _divergence(loss, error) or _single_epoch(error) or _trend(loss, error)
    return [found] if found else []


def _divergence(loss: np.ndarray, error: np.ndarray) -> Remark | None:
    finite = np.isfinite(loss) & np.isfinite(error)
    if not finite.all():
        epoch = int(np.argmin(finite)) + 1
        text = (
            f"diverged: the loss or the validation error is not finite from epoch {epoch} of "
            f"{len(error)} on"
        )
        return Remark(text, "bad")
    end = _end(error)
    rise = [values[-end:].mean() / max(values.min(), 1e-300) for values in (loss, error)]
    if min(rise) > DIVERGED:
        text = (
            f"diverged: training loss and validation error end at {rise[0]:.1f} and {rise[1]:.1f} "
            "times their minima"
        )
        return Remark(text, "bad")
    return None


def _single_epoch(error: np.ndarray) -> Remark | None:
    if len(error) > 1:
        return None
    text = "trained for one epoch only, which does not show whether the error would still fall"
    return Remark(text, "warning")


def _trend(loss: np.ndarray, error: np.ndarray) -> Remark | None:
    """A validation error that falls or rises at the end."""
    epochs = len(error)
    end = _end(error)
    last = f"the last {end}" if end > 1 else "the last"
    fall = 1 - error[-end:].min() / max(error[:-end].min(), 1e-300)
    if fall > (FALL_OF_FEW if epochs < FEW else FALL):
        text = (
            f"undertrained: the validation error still fell by {100 * fall:.0f} % in {last} of "
            f"{epochs} epochs. More epochs should lower it"
        )
        return Remark(text, "warning")
    best = int(np.argmin(error))
    rise = error[-end:].mean() / max(error[best], 1e-300) - 1
    near_best = loss[max(0, best + 1 - end) : best + 1].mean()
    if best < epochs - end and rise > RISE and loss[-end:].mean() < near_best:
        text = (
            f"overfitted: since epoch {best + 1} of {epochs} the validation error rose by "
            f"{100 * rise:.0f} % while the training loss fell. The weights of epoch {best + 1} are "
            "used"
        )
        return Remark(text, "warning")
    return None


def _end(error: np.ndarray) -> int:
    """Number of epochs at the end: a tenth, at least one."""
    return max(1, round(END * len(error)))
