"""Joining server ranks: process groups from env://, and collectives of a few numbers on groups of their own.

Collectives on one group must be called in the same order on every rank. The loader's thread agrees while the trainer's
thread reduces gradients, in no common order; so each thread has its own group.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from melissa_like.errors import DeadlineExceededError
from melissa_like.loading import Collective, SoloCollective
from melissa_like.records import FloatArray

__all__ = ["GlooCollective", "RankGroup", "join_ranks"]

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class GlooCollective:
    """A `Collective` over a gloo group: on the CPU, whatever the gradients travel on. One thread uses it.

    Args:
        group: a gloo group of all ranks that nothing else uses.
        timeout_s: for the message of the error; the group has its own deadline.
    """

    def __init__(self, group: dist.ProcessGroup, timeout_s: float) -> None:
        self._group = group
        self._timeout_s = timeout_s
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)

    def all_gather(self, values: FloatArray) -> FloatArray:
        """See `Collective.all_gather`; blocks until every rank has called it, for the group's deadline at most.

        Raises:
            DeadlineExceededError: another rank did not come in time, or has ended.
        """
        mine = torch.from_numpy(values.copy())
        rows = [torch.empty_like(mine) for _ in range(self.size)]
        try:
            dist.all_gather(rows, mine, group=self._group)
        except RuntimeError as error:
            raise DeadlineExceededError(
                f"server rank {self.rank} of {self.size} waited for the others and at least one did not come within "
                f"{self._timeout_s:g} s or has ended: look for the first error in the logs of the other ranks"
            ) from error
        table: FloatArray = torch.stack(rows).numpy()
        return table


@dataclass(frozen=True, slots=True, kw_only=True)
class RankGroup:
    """This rank among all.

    Attributes:
        loading: for the loader's thread alone.
        training: for the trainer's thread alone.
    """

    loading: Collective
    training: Collective

    @property
    def rank(self) -> int:
        """This rank, from 0."""
        return self.training.rank

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self.training.size


@contextmanager
def join_ranks(device: torch.device, *, timeout_s: float = 300.0) -> Iterator[RankGroup]:
    """Meet the other ranks that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT tell of; leave them at the end.

    With one rank (or none of the variables set) there is no process group at all. Otherwise gradients go over nccl for
    a CUDA device and gloo for the CPU. Blocks until all ranks have come, `timeout_s` at most.

    Args:
        device: of this rank.
        timeout_s: deadline of the meeting and of every collective.

    Raises:
        ValueError: the variables are incomplete.
        DeadlineExceededError: the other ranks did not come in time.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield RankGroup(loading=SoloCollective(), training=SoloCollective())
        return
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise ValueError(f"WORLD_SIZE is {os.environ['WORLD_SIZE']} but {', '.join(missing)} are not set: set all four")
    try:
        yield _meet(device, timeout_s)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _meet(device: torch.device, timeout_s: float) -> RankGroup:
    timeout = timedelta(seconds=timeout_s)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", init_method="env://", timeout=timeout)
        groups = [dist.new_group(backend="gloo", timeout=timeout) for _ in range(2)]
    except dist.DistError as error:
        raise DeadlineExceededError(
            f"server rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} did not meet the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} within {timeout_s:g} s: look for the first error "
            f"in their logs"
        ) from error
    loading, training = (GlooCollective(group, timeout_s) for group in groups)
    return RankGroup(loading=loading, training=training)
