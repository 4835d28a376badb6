"""Several answers to one question: thinned networks, or networks trained apart."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Sample
from fields.models.base import Operator
from fields.nn.dropout import NeuronDropout, hold


class Ensemble(Operator):
    """v(y) = mean of the members' answers; each member is one draw of what a model of this kind might say.

    Args:
        members: models of one schema, trained from different seeds.

    Raises:
        ValueError: there is no member, or their schemas differ.
    """

    def __init__(self, members: Sequence[Operator]):
        if not members:
            raise ValueError("An ensemble needs at least one model. Give a list of them.")
        first = members[0]
        strange = [one for one in members if one.schema != first.schema]
        if strange:
            raise ValueError(
                f"An ensemble answers one question; these schemas differ: {first.schema} and {strange[0].schema}."
            )
        super().__init__(schema=first.schema, normalizer=copy.deepcopy(first.normalizer))
        self.members = nn.ModuleList(members)

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """The mean of the members."""
        return torch.stack([member(batch) for member in self.members]).mean(0)

    def evaluate(self, batch: Sample, memory: float) -> Float[Tensor, "b s m o"]:
        """See `Operator`."""
        return torch.stack(list(draw_samples(self, batch, len(self.members), memory=memory))).mean(
            0
        )


def draw_samples(
    model: Operator, batch: Sample, samples: int, *, memory: float = 1e9, seed: int = 0
) -> Iterator[Float[Tensor, "b s m o"]]:
    """Answers of the members of an ensemble, or of thinned networks whose masks stay fixed through a rollout (MC dropout).

    Raises:
        ValueError: an ensemble has fewer members, or the model has no neuron to silence.
    """
    if isinstance(model, Ensemble):
        if samples > len(model.members):
            raise ValueError(
                f"The ensemble has {len(model.members)} members and cannot give {samples} answers. Ask for fewer."
            )
        for member in list(model.members)[:samples]:
            assert isinstance(member, Operator)
            yield member.evaluate(batch, memory)
        return
    layers = [
        layer for layer in model.modules() if isinstance(layer, NeuronDropout) and layer.p > 0
    ]
    if not layers:
        raise ValueError(
            "The model has no dropout to draw from. Train it with `dropout` in its processor, or use `fields.Ensemble` of several."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(samples):
            with with_dropout(layers), hold(model):
                answer = model.evaluate(batch, memory)
            yield answer


@contextmanager
def with_dropout(layers: Sequence[NeuronDropout]) -> Iterator[None]:
    """Within this context these layers silence neurons as in training, and nothing else trains."""
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer, mode in zip(layers, before, strict=True):
            layer.train(mode)
