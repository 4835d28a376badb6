"""The processes that train together: who they are, and what they tell each other."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def rank_and_size() -> tuple[int, int]:
    """Number of this process among those that train together, and how many they are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def is_main_process() -> bool:
    """Whether this process speaks and writes for all; known before they have met."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK"))


def init_process_group() -> None:
    """Processes started by torchrun meet, so that data are made and measured once; one process alone does nothing."""
    if (
        int(os.environ.get("WORLD_SIZE", "1")) == 1
        or "RANK" not in os.environ
        or distributed.is_initialized()
    ):
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")


def barrier() -> None:
    """Until all processes are here."""
    if rank_and_size()[1] > 1:
        distributed.barrier()


def broadcast(value: T) -> T:
    """What the first process has, in all of them."""
    told: list[Any] = [value]
    if rank_and_size()[1] > 1:
        distributed.broadcast_object_list(told)
    return told[0]


def all_gather(part: Tensor) -> Tensor:
    """The parts of all processes one after the other, along the first axis, in all of them."""
    parts: list[Any] = [part] * rank_and_size()[1]
    if len(parts) > 1:
        distributed.all_gather_object(parts, part)
    return torch.cat(parts)
