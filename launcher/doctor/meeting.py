"""Torch's part of a probe: the device of a server rank, and a reduction over all of them as in training."""

import os
import socket
import time
from pathlib import Path

import torch
import torch.distributed as dist

from melissa_like.errors import MelissaLikeError, story_of
from melissa_like.launcher.doctor.reports import RENDEZVOUS_FILE, Errand, MeetingReport
from melissa_like.protocol.seen import await_seen
from melissa_like.server.build import pick_device
from melissa_like.server.nodes import local_rank, torch_network
from melissa_like.training import connect_rendezvous, join_ranks, open_rendezvous
from melissa_like.transport.own_host import OwnHost

__all__ = ["meet"]


def meet(folder: Path, errand: Errand, rank: int, own: OwnHost) -> MeetingReport:
    """How it went; blocks until all server ranks have come, or `Errand.patience_s` have passed.

    Args:
        folder: where rank 0 tells the others where to meet.
        errand: of the probe.
        rank: of the server rank.
        own: where this process is reached.
    """
    host = socket.gethostname()
    os.environ.update(torch_network(own, os.environ))
    try:
        device = pick_device(errand.device, local_rank(rank, os.environ))
        seconds = _reduce(folder, errand, rank, own.address, device)
    except (MelissaLikeError, RuntimeError, OSError, ValueError) as error:
        return MeetingReport(rank=rank, host=host, problem=story_of(error))
    backend = "" if errand.num_server_ranks == 1 else "nccl" if device.type == "cuda" else "gloo"
    return MeetingReport(
        rank=rank,
        host=host,
        device=str(device),
        gpu=str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else "",
        backend=backend,
        seconds=seconds,
    )


def _reduce(folder: Path, errand: Errand, rank: int, address: str, device: torch.device) -> float:
    """Seconds of a reduction; the first one, which connects the ranks, is not counted."""
    num_ranks, store = errand.num_server_ranks, None
    place = folder / RENDEZVOUS_FILE
    if num_ranks > 1 and rank == 0:
        store, where = open_rendezvous(address, num_ranks, timeout_s=errand.patience_s)
        place.with_suffix(".tmp").write_text(where)
        place.with_suffix(".tmp").replace(place)
    elif num_ranks > 1:
        await_seen(place, patience_s=errand.patience_s)
        store = connect_rendezvous(place.read_text(), num_ranks, timeout_s=errand.patience_s)
    joined = join_ranks(device, rank=rank, num_ranks=num_ranks, store=store, timeout_s=errand.patience_s)
    with joined as group:
        for _ in range(2):
            began = time.perf_counter()
            number = torch.full((1,), rank + 1.0, device=device)
            if group.is_joined:
                dist.all_reduce(number)
            total = number.item()
            seconds = time.perf_counter() - began
    expected = num_ranks * (num_ranks + 1) / 2 if num_ranks > 1 else 1.0
    if total != expected:
        raise RuntimeError(f"a sum over {num_ranks} server ranks is {total:g}, not {expected:g}")
    return seconds
