"""Processes that train together: their ranks and what they exchange outside of gradients."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def rank_and_size() -> tuple[int, int]:
    """Return the rank of this process and the number of processes that train together.

    Example:
        >>> rank_and_size()
        (0, 1)
    """
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def is_main_process() -> bool:
    """Tell whether this process prints and writes files for all.

    It reads the environment, so it can be called before the process group is initialized.
    """
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK"))


def init_process_group() -> None:
    """Connect processes that torchrun started, so that data are generated and measured only once.

    A process that was started on its own needs no connection, and nothing happens.
    """
    started_by_torchrun = "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not started_by_torchrun or distributed.is_initialized():
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")


def barrier() -> None:
    """Wait until all processes have called this."""
    if rank_and_size()[1] > 1:
        distributed.barrier()


def broadcast(value: T) -> T:
    """Return the main process's value in all processes.

    Example:
        >>> broadcast("main")
        'main'
    """
    values: list[Any] = [value]
    if rank_and_size()[1] > 1:
        distributed.broadcast_object_list(values)
    return values[0]


def all_gather(part: Tensor) -> Tensor:
    """Concatenate the tensors of all processes along the first axis, in all processes.

    Example:
        >>> all_gather(torch.arange(3)).tolist()
        [0, 1, 2]
    """
    parts: list[Any] = [part] * rank_and_size()[1]
    if len(parts) > 1:
        distributed.all_gather_object(parts, part)
    return torch.cat(parts)
