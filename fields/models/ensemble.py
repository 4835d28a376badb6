"""Several models of one problem that predict together."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Sample
from fields.models.base import Operator


class Ensemble(Operator):
    r"""The mean of independently trained models, v̂(t, y) = 1/M Σ_i v̂_i(t, y).

    `sample` yields the members' predictions one by one, so that their spread measures how far
    training determines the prediction. Saving an ensemble writes all members into one file.

    Args:
        members: models of one schema, trained from different seeds.

    Shape: as the members, (b s m o).

    Raises:
        ValueError: there is no member, or their schemas differ.

    Reference: Lakshminarayanan, Pritzel & Blundell, Simple and scalable predictive uncertainty
    estimation using deep ensembles, NeurIPS 2017.

    Example:
        >>> import fields
        >>> ensemble = Ensemble([fields.load("burgers"), fields.load("burgers_gat")])
        >>> len(ensemble.members), ensemble.schema.outputs
        (2, ('u',))
    """

    def __init__(self, members: Sequence[Operator]):
        if not members:
            raise ValueError("An ensemble needs at least one model. Give a list of models.")
        first = members[0]
        different = [one for one in members if one.schema != first.schema]
        if different:
            raise ValueError(
                "The members of an ensemble must have the same schema, but these schemas differ: "
                f"{first.schema} and {different[0].schema}. Use models of one problem."
            )
        super().__init__(schema=first.schema, normalizer=copy.deepcopy(first.normalizer))
        self.members = nn.ModuleList(members)
        self.training_range = first.training_range

    def check_points(self, x: Float[Tensor, "n d"]) -> None:
        """Ask every member whether it can read these points."""
        for member in self.members:
            cast(Operator, member).check_points(x)

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predict the mean of the members, in physical units."""
        return torch.stack([member(batch) for member in self.members]).mean(0)

    def evaluate(self, batch: Sample, memory: float) -> Float[Tensor, "b s m o"]:
        """Compute the same as ``forward``; each member decodes within ``memory`` bytes."""
        return torch.stack(list(self.sample(batch, len(self.members), memory=memory))).mean(0)

    def sample(
        self, batch: Sample, count: int, *, memory: float = 1e9, seed: int = 0
    ) -> Iterator[Float[Tensor, "b s m o"]]:
        """Yield the predictions of the first ``count`` members; ``seed`` has no effect.

        Raises:
            ValueError: the ensemble has fewer members.
        """
        if count > len(self.members):
            raise ValueError(
                f"The ensemble has {len(self.members)} members and cannot give {count} "
                "predictions. Request fewer."
            )
        for member in list(self.members)[:count]:
            yield cast(Operator, member).evaluate(batch, memory)
