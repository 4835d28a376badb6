"""What functions below `fields.models` expect of a model, so that they need not import one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Sample, Schema


class Predictor(Protocol):
    """A model that `fields.inference` can evaluate; `fields.models.base.Operator` is one.

    Example:
        >>> from fields.models.base import Operator
        >>> all(hasattr(Operator, name) for name in ("evaluate", "sample", "train"))
        True
    """

    schema: Schema
    training: bool
    training_range: Any  # `fields.data.novelty.TrainingRange`, None if it is not known
    examples: Any  # a dataset of a few inputs, None if there are none

    def evaluate(self, batch: Sample, memory: float) -> Float[Tensor, "b s m o"]:
        """Predict at the batch's queries and times, decoding within ``memory`` bytes."""
        ...

    def sample(
        self, batch: Sample, count: int, *, memory: float = 1e9, seed: int = 0
    ) -> Iterator[Float[Tensor, "b s m o"]]:
        """Yield ``count`` different predictions for one batch."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Yield the trainable tensors; the first one tells the device."""
        ...

    def check_points(self, x: Float[Tensor, "n d"]) -> None:
        """Refuse input points, in physical units, that the model cannot read."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Switch between training and evaluation."""
        ...

    def eval(self) -> Any:
        """Switch to evaluation mode, as in ``torch.nn.Module.eval``."""
        ...


class RolloutPredictor(Predictor, Protocol):
    """A model of an evolution problem that yields its prediction a few frames at a time.

    Example:
        >>> from fields.models.evolution import EvolutionOperator
        >>> hasattr(EvolutionOperator, "rollout")
        True
    """

    def rollout(
        self, batch: Sample, *, frames: int, memory: float
    ) -> Iterator[Float[Tensor, "b s m o"]]:
        """Yield the prediction in chunks of at most ``frames`` times."""
        ...


class Traceable(Predictor, Protocol):
    """A model that `torch.export` can trace.

    Example:
        >>> from fields.models.base import Operator
        >>> hasattr(Operator, "fix_points") and hasattr(Operator, "forward_at")
        True
    """

    def fix_points(self, x: Float[Tensor, "#b n d"]) -> None:
        """Restrict the model to inputs at these points, in physical units."""
        ...

    def forward_at(self, batch: Sample, times: list[float]) -> Float[Tensor, "b s m o"]:
        """Predict at times given as numbers, which tracing turns into constants."""
        ...


class Savable(Protocol):
    """A model that `fields.checkpoints` can write to a file.

    Example:
        >>> from fields.models.base import Operator
        >>> hasattr(Operator, "describe")
        True
    """

    schema: Schema
    training_range: Any  # `fields.data.novelty.TrainingRange`, None if it is not known
    examples: Any  # a few inputs that travel with the model, None if there are none

    def describe(self) -> dict[str, Any]:
        """Class path and constructor arguments as plain values; see `Component`."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """All tensors by name."""
        ...
