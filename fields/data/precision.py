"""Which numbers keep double precision until their mean is removed."""

from __future__ import annotations

import math

import numpy as np

# A range this many times smaller than the largest value loses digits in single precision.
OFFSET = 16.0

# Squares of values beyond these magnitudes leave the range of single precision.
MAGNITUDES = (1e-15, 1e15)

# Larger values are refused: sums of their squares overflow in the type that holds them.
LARGEST = {np.float32: 1e18, np.float64: 1e150}


def needs_double(low: float, high: float) -> bool:
    """Whether single precision would lose digits of values between ``low`` and ``high``.

    Example:
        >>> needs_double(0.0, 1.0), needs_double(101324.9, 101325.1), needs_double(0.0, 1e20)
        (False, True, True)
    """
    largest = max(abs(low), abs(high))
    if not 0 < largest < math.inf:
        return False
    return largest > OFFSET * (high - low) > 0 or not MAGNITUDES[0] < largest < MAGNITUDES[1]


def working_type(values: np.ndarray, stored: np.dtype) -> type[np.floating]:
    """float64 if values like these need it, else float32.

    Args:
        values: an excerpt in double precision; missing ones are NaN.
        stored: their type in the file. Values stored in single precision cannot gain digits, but
            they can leave the range in which squares are represented.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return np.float32
    low = float(known.min())
    high = float(known.max())
    if np.can_cast(stored, np.float32):
        low, high = min(low, -high), max(high, -low)
    return np.float64 if needs_double(low, high) else np.float32
