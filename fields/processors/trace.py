"""What can be watched while tokens flow."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context
from fields.processors.block import Block


class Moment(NamedTuple):
    """One state on the way through a processor, and what is needed to judge it."""

    stage: int  # the law compares states of one stage
    block: Block
    state: Float[Tensor, "b k s"]
    context: Context
    h: Float[Tensor, ""]
    clamps: Float[Tensor, "b"]


class Trace(NamedTuple):
    """What can be watched, at every step of the flow, in double precision."""

    stage: list[int]
    h: Float[Tensor, "s"]
    energy: Float[Tensor, "s b"]  # of the field; ½|z|² for fields without one
    clamps: Float[Tensor, "s b"]  # steps refused so far in the stage
    entropy: Float[Tensor, "s b"] | None  # of fields that have one
