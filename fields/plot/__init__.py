"""Figures of fields, errors and trainings. Only this package imports matplotlib.

Figures are made without pyplot and hence without windows and global state; they can be made in
threads and worker processes. Every function returns a :class:`matplotlib.figure.Figure`, which
notebooks display; :func:`png` encodes it.
"""

from fields.plot.attention import attention_basis
from fields.plot.curves import Curve, curves_figure, loss_figure, resolution_figure, time_figure
from fields.plot.samples import PredictedSample, sample_figure
from fields.plot.style import STYLE, label, png, save_figure
from fields.plot.trajectories import animate, band_figure, frames_figure, space_time_figure

__all__ = [
    "STYLE",
    "Curve",
    "PredictedSample",
    "animate",
    "attention_basis",
    "band_figure",
    "curves_figure",
    "frames_figure",
    "label",
    "loss_figure",
    "png",
    "resolution_figure",
    "sample_figure",
    "save_figure",
    "space_time_figure",
    "time_figure",
]
