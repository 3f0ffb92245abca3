"""Joining server ranks: where they meet, their gradients, and collectives of a few numbers on groups of their own.

Ranks meet at a store, which rank 0 opens on a free port and announces; nothing is probed and used later. Collectives on
one group must be called in the same order on every rank. The loader's thread agrees while the trainer's thread reduces
gradients, in no common order; so each thread has its own group.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import HashStore, Store, TCPStore  # type: ignore[attr-defined]  # not in torch's own list of exports
from torch.nn.parallel import DistributedDataParallel

from melissa_like.errors import DeadlineExceededError
from melissa_like.loading import Collective, SoloCollective
from melissa_like.records import FloatArray

__all__ = ["GlooCollective", "RankGroup", "alone", "connect_rendezvous", "join_ranks", "joined", "open_rendezvous"]

_DEADLINE_S = 300.0


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
        is_joined: there is a process group, over which gradients are averaged.
    """

    loading: Collective
    training: Collective
    is_joined: bool = False

    @classmethod
    def of_one(cls) -> "RankGroup":
        """The only rank."""
        return cls(loading=SoloCollective(), training=SoloCollective())

    @property
    def rank(self) -> int:
        """This rank, from 0."""
        return self.training.rank

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self.training.size


def open_rendezvous(host: str, num_ranks: int, *, timeout_s: float = _DEADLINE_S) -> tuple[Store, str]:
    """Rank 0: open the place where the ranks meet, on a free port; does not wait for them.

    Args:
        host: under which this process is reached.
        num_ranks: that will meet.
        timeout_s: deadline of whoever waits there.

    Returns:
        The store, and its address `host:port` for the others. It listens there alone, because it lets everybody in;
        left to itself it would listen on every interface.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, 0), family=family)
    port = listening.getsockname()[1]
    timeout = timedelta(seconds=timeout_s)
    descriptor = listening.detach()  # the store closes it
    store = TCPStore(host, port, num_ranks, True, timeout, wait_for_workers=False, master_listen_fd=descriptor)
    return store, f"{host}:{port}"


def connect_rendezvous(address: str, num_ranks: int, *, timeout_s: float = _DEADLINE_S) -> Store:
    """Any other rank: the store under the address that rank 0 announced; blocks until it answers.

    Raises:
        ValueError: not an address.
        DeadlineExceededError: nobody answered in time.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"the rendezvous is at {address!r}: give host:port, as server rank 0 announced it")
    try:
        return TCPStore(host, int(port), num_ranks, False, timedelta(seconds=timeout_s), wait_for_workers=False)
    except dist.DistError as error:
        raise DeadlineExceededError(
            f"server rank 0 did not answer at {address} within {timeout_s:g} s: look for the first error in its log"
        ) from error


@contextmanager
def join_ranks(
    device: torch.device,
    *,
    rank: int = 0,
    num_ranks: int = 1,
    store: Store | None = None,
    timeout_s: float = _DEADLINE_S,
) -> Iterator[RankGroup]:
    """Meet the other ranks at a store; leave them at the end.

    With one rank there is no process group at all. Otherwise gradients go over nccl for a CUDA device and gloo for the
    CPU. Blocks until all ranks have come, `timeout_s` at most.

    Args:
        device: of this rank.
        rank: this one, from 0.
        num_ranks: that meet.
        store: from `open_rendezvous` or `connect_rendezvous`; None with one rank only.
        timeout_s: deadline of the meeting and of every collective.

    Raises:
        ValueError: several ranks without a store.
        DeadlineExceededError: the other ranks did not come in time.
    """
    if num_ranks == 1:
        yield RankGroup.of_one()
        return
    if store is None:
        raise ValueError(f"{num_ranks} ranks but no store: rank 0 opens one with open_rendezvous, the others connect")
    try:
        yield _meet(device, rank, num_ranks, store, timeout_s)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def alone() -> Iterator[RankGroup]:
    """A process group of this rank alone, met in its own memory: what several ranks do to a module, done by one."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        yield RankGroup(loading=SoloCollective(), training=SoloCollective(), is_joined=True)
    finally:
        dist.destroy_process_group()


def joined(module: nn.Module, device: torch.device) -> nn.Module:
    """A module whose gradients are averaged over the ranks; all start from rank 0's weights."""
    device_ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=device_ids, gradient_as_bucket_view=True)


def _meet(device: torch.device, rank: int, num_ranks: int, store: Store, timeout_s: float) -> RankGroup:
    timeout = timedelta(seconds=timeout_s)
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "nccl"
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=num_ranks, timeout=timeout)
        groups = [dist.new_group(backend="gloo", timeout=timeout) for _ in range(2)]
    except dist.DistError as error:
        raise DeadlineExceededError(
            f"server rank {rank} of {num_ranks} did not meet the others within {timeout_s:g} s: look for the first "
            "error in their logs"
        ) from error
    loading, training = (GlooCollective(group, timeout_s) for group in groups)
    return RankGroup(loading=loading, training=training, is_joined=True)
