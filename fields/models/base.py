"""The base class of every complete model: neural fields, ensembles and baselines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from fields.checkpoints import hub
from fields.core.allocator import limit_primitive_cache, raise_malloc_threshold
from fields.core.component import Component
from fields.core.sample import Sample, Schema
from fields.data.normalizer import Normalizer
from fields.data.novelty import TrainingRange
from fields.inference.predict import predict_dataset
from fields.nn.dropout import NeuronDropout, hold_dropout_masks


class Operator(Component, ABC):
    r"""A map between functions, learned from samples: (x, u, y, t, params) ↦ v̂(t, y).

    Everything outside is in physical units; the normalizer is applied inside. A subclass implements
    `forward`; prediction on datasets, sampling, saving and sharing are inherited.

    Args:
        schema: names, units and geometry of the problem.
        normalizer: statistics of the training split, with the maps to normalized units and back.

    Shape: x (b n d), u (b n c), y (b m d), t (b s), params (b p) -> v̂ (b s m o), see `Sample`.

    Example:
        The smallest operator predicts its input's mean everywhere:

        >>> import torch
        >>> from fields import Sample, Schema
        >>> from fields.data.normalizer import Normalizer
        >>> class Mean(Operator):
        ...     def forward(self, batch):
        ...         return batch.u.mean(1)[:, None, None].expand(-1, 1, batch.y.shape[1], -1)
        >>> schema = Schema(coords=("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> model = Mean(schema=schema, normalizer=Normalizer(schema, {"a": (0, 1), "u": (0, 1)}))
        >>> x, mask = torch.rand(1, 5, 1), torch.ones(1, 5, dtype=torch.bool)
        >>> u, v = torch.randn(2, 5, 1), torch.zeros(2, 1, 5, 1)
        >>> batch = Sample(x, u, mask, x, v, mask, t=torch.zeros(2, 1), params=torch.zeros(2, 0))
        >>> model(batch).shape
        torch.Size([2, 1, 5, 1])
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer):
        super().__init__()
        raise_malloc_threshold()
        limit_primitive_cache()
        self.schema = schema
        self.normalizer = normalizer
        self.examples: xr.Dataset | None = None
        self.training_range: TrainingRange | None = None  # measured by the training, then saved

    @abstractmethod
    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predict at the batch's queries and times, in physical units."""

    def predict(
        self,
        ds: xr.Dataset,
        *,
        at: Mapping[str, Any] | None = None,
        times: Sequence[float] | None = None,
        batch_size: int = 16,
        memory: float = 1e9,
        symmetries: Sequence[Mapping[str, Sequence[str]]] = (),
        samples: int | None = None,
        quantiles: Sequence[float] = (0.05, 0.95),
        seed: int = 0,
    ) -> xr.Dataset:
        """Predict the fields for every sample of ``ds``, at its own points or at others.

        Args:
            ds: the schema's inputs and coordinates, in physical units; a variable with an attribute
                ``units`` is converted to the unit of the training data.
            at: other points: ``{"x": xs, "y": ys}`` with 1-D arrays for a grid, or with DataArrays
                over one common dim for scattered points.
            times: for evolution problems, the times to predict, in physical units counted from the
                last given frame, ascending. The default is the times of the frames that ``ds``
                stores after the given ones, or one frame later if it stores no others.
            batch_size: number of samples evaluated at a time.
            memory: bytes that one pass may take; queries are decoded in chunks that fit.
            symmetries: average over the group that these generators span (see
                ``fields.data.symmetry``).
            samples: number of predictions to draw with `sample`. The result then holds their mean
                under the output's name and their quantiles beside it, such as ``u_q05``.
            quantiles: which quantiles of the drawn predictions to return.
            seed: seed of the drawn predictions.

        Returns:
            A dataset with the schema's outputs, coordinates and units, and with a time axis for
            evolution problems. A model that keeps its training range adds the coordinate
            ``novelty`` over ``sample`` (see `fields.data.novelty.TrainingRange`). Inputs,
            parameters or grids outside that range give one `ExtrapolationWarning`, whose text is
            the attribute ``extrapolation``. Requested points in a hole of the mesh, or where the
            training data have no values, are NaN.

        Raises:
            DataError: a variable or coordinate is missing, a value or the prediction is not finite,
                a point lies outside the domain of the training data, a periodic axis has another
                period, or a unit cannot be converted.
            ValueError: ``samples`` are requested from a model that cannot draw as many.
        """
        return predict_dataset(
            self,
            ds,
            at=at,
            times=times,
            batch_size=batch_size,
            memory=memory,
            symmetries=symmetries,
            samples=samples,
            quantiles=quantiles,
            seed=seed,
        )

    def sample(
        self, batch: Sample, count: int, *, memory: float = 1e9, seed: int = 0
    ) -> Iterator[Float[Tensor, "b s m o"]]:
        """Yield ``count`` predictions with Monte Carlo dropout, which stays active for them.

        Each prediction uses one dropout mask, which is held through the whole rollout. The global
        random state is restored when the iterator ends.

        Args:
            batch: inputs and queries.
            count: number of predictions.
            memory: bytes that decoding may take, see `evaluate`.
            seed: seed of the masks.

        Raises:
            ValueError: the model has no dropout.

        Reference: Gal & Ghahramani, Dropout as a Bayesian approximation, ICML 2016.
        """
        layers = [m for m in self.modules() if isinstance(m, NeuronDropout) and m.p > 0]
        if not layers:
            raise ValueError(
                "The model has no dropout to draw from. Train it with `dropout` in its processor, "
                "or use `fields.Ensemble` of several models."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for _ in range(count):
                with _training_mode(layers), hold_dropout_masks(self):
                    prediction = self.evaluate(batch, memory)
                yield prediction

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write ``model.safetensors``, ``config.json`` and ``README.md`` into a folder.

        This is the layout of a model repository on the Hugging Face hub; see
        :func:`fields.checkpoints.hub.save_pretrained`.
        """
        return hub.save_pretrained(self, folder)

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Upload the same three files to ``org/name`` on the Hugging Face hub.

        The options are those of :func:`fields.checkpoints.hub.push_to_hub`.
        """
        return hub.push_to_hub(self, repo, **options)

    def evaluate(self, batch: Sample, memory: float) -> Float[Tensor, "b s m o"]:
        """Compute the same as ``forward``, decoding the queries in chunks that fit in memory.

        Args:
            batch: inputs and queries.
            memory: bytes that one chunk may take, by the estimate of `decode_bytes`.
        """
        parts = [
            self(batch._replace(y=y, y_mask=mask)) for y, mask in self.query_chunks(batch, memory)
        ]
        return torch.cat(parts, dim=2)

    def query_chunks(
        self, batch: Sample, memory: float
    ) -> Iterator[tuple[Float[Tensor, "#b m d"], Bool[Tensor, "#b m"]]]:
        """Yield the queries and their mask in chunks that each decode within ``memory`` bytes."""
        size = max(1, int(min(memory / self.decode_bytes(batch), batch.y.shape[1])))
        yield from zip(batch.y.split(size, dim=1), batch.y_mask.split(size, dim=1), strict=True)

    def decode_bytes(self, batch: Sample) -> float:
        """Estimate the memory that decoding takes per query point, for the whole batch.

        `query_chunks` chooses the size of its chunks by this.
        """
        return 4096.0 * len(batch.u)

    def forward_at(self, batch: Sample, times: list[float]) -> Float[Tensor, "b s m o"]:
        """Compute the same as ``forward``, for times given as numbers.

        ``torch.export`` cannot follow values that are read from a tensor, so a model whose
        computation depends on the values of the times overrides this. ``batch.t`` holds the same
        times.
        """
        return self(batch)

    def check_points(self, x: Float[Tensor, "n d"]) -> None:
        """Refuse input points, in physical units, that the model cannot read.

        This is asked once per dataset. A model that reads any points does nothing.

        Raises:
            ValueError: the model needs other points; the message names an alternative.
        """

    def fix_points(self, x: Float[Tensor, "#b n d"]) -> None:
        """Restrict the model to inputs at these physical points, as ``torch.export`` requires.

        A model that makes decisions by the values of coordinates makes them here, once.
        """


@contextmanager
def _training_mode(layers: Sequence[NeuronDropout]) -> Iterator[None]:
    """Put only these layers into training mode, and restore their modes afterwards."""
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer, mode in zip(layers, before, strict=True):
            layer.train(mode)
