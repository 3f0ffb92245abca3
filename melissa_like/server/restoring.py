"""How a server rank of a later incarnation goes on: which checkpoint all ranks can load, and what each takes of it."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from melissa_like.assembly import Assembler, over_and_steps, owned
from melissa_like.buffer import BufferState, RowsMemory, SampleBuffer, SavedRows
from melissa_like.buffer.batch_memory import allocate
from melissa_like.buffer.dealing import deal
from melissa_like.buffer.ragged_memory import RaggedForm
from melissa_like.buffer.ragged_rows import RowsToRead
from melissa_like.buffer.slots import SlotArray
from melissa_like.errors import CheckpointDamagedError, ConfigurationError
from melissa_like.loading import Collective
from melissa_like.protocol.control import HeldSteps, Restored
from melissa_like.records import Layout, Ranges, Routing, Window, owner_of
from melissa_like.server.cut import Index
from melissa_like.server.receiver import Receiver
from melissa_like.training import Stateful, ValidationSet
from melissa_like.training.checkpoint import CheckpointFolder, Manifest, Shard

__all__ = ["Found", "StartingPoint", "find_checkpoint", "restore_rank"]

_LOOK_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A checkpoint that all ranks can load.

    Attributes:
        manifest: of it.
        shards: by the ranks of then.
        indexes: theirs.
    """

    manifest: Manifest
    shards: Sequence[Shard]
    indexes: Sequence[Index]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPoint:
    """Where a rank goes on from.

    Attributes:
        newest_number: the highest number that a checkpoint had so far.
        saved: what `restore_rank` returned; None: the training begins.
    """

    newest_number: int = 0
    saved: Mapping[str, Any] | None = None

    @property
    def training(self) -> Mapping[str, Any] | None:
        """For the training stream."""
        return None if self.saved is None else self.saved["training"]

    @property
    def batches(self) -> int:
        """Training steps before."""
        return 0 if self.saved is None else int(self.saved["training"]["batches"])

    @property
    def samples(self) -> int:
        """Samples in them, of this rank."""
        return 0 if self.saved is None else int(self.saved["training"]["samples"])

    @property
    def position(self) -> int:
        """Bytes of the file of metrics that are kept."""
        return 0 if self.saved is None else int(self.saved["monitoring"]["position"])


def find_checkpoint(folder: CheckpointFolder, collective: Collective) -> tuple[Found | None, int]:
    """The newest checkpoint that every rank can load, and the highest number so far; every rank must call it.

    Each rank reads its own part through and compares checksums. A checkpoint that is damaged is skipped with a warning,
    and set aside. Blocks in a collective, for its deadline at most.

    Args:
        folder: of the study's checkpoints.
        collective: joins the ranks.

    Returns:
        None: there is none, or nothing to go on from.
    """
    newest = int(collective.all_gather(np.array([folder.newest], np.float64)).max())
    bound = math.inf
    found: Found | None = None
    while True:
        if found is None or found.manifest.number > bound:
            found = _newest_sound(folder, bound, collective)
        proposals = collective.all_gather(np.array([found.manifest.number if found else 0], np.float64))
        bound = proposals.min()
        if (proposals == bound).all():
            break
    if collective.rank == 0:
        folder.go_on_from(int(bound))
    if found is not None and not found.manifest.kept:
        sys.stderr.write(
            f"WARNING: checkpoint {found.manifest.number} has nothing to go on from, so the training begins anew: let "
            "the training loop call stream.keep for its optimizer and whatever else a restart needs\n"
        )
        found = None
    return found, newest


def _newest_sound(folder: CheckpointFolder, bound: float, collective: Collective) -> Found | None:
    """The newest one whose part for this rank is as it was written."""
    for number in folder.complete():
        if number > bound:
            continue
        try:
            manifest = folder.manifest_of(number)
            shards = folder.shards_of(manifest)
            for shard in shards[collective.rank :: collective.size]:
                shard.verify()
            return Found(manifest=manifest, shards=shards, indexes=[Index.of_dict(shard.index()) for shard in shards])
        except CheckpointDamagedError as error:
            sys.stderr.write(f"WARNING: checkpoint {number} is damaged, so the one before it counts: {error}\n")
    return None


def restore_rank(
    found: Found,
    *,
    rank: int,
    num_ranks: int,
    routing: Routing,
    layout: Layout,
    window: Window | None,
    assembler: Assembler,
    receiver: Receiver,
    buffer: SampleBuffer,
    capacity: int,
    capacity_nbytes: int | None,
    views_per_sample: int | None,
    held_out: ValidationSet,
    consumers: Mapping[str, Stateful],
) -> tuple[dict[str, Any], Restored]:
    """Take this rank's part of a checkpoint into what it is made of.

    Args:
        found: the checkpoint.
        rank: this one, among `num_ranks`; there may have been another number of them.
        num_ranks: that there are now.
        routing: which samples each owns.
        layout: of the time steps.
        window: what a sample is; None: one time step.
        assembler: that has been given nothing so far.
        receiver: its owner.
        buffer: unused so far.
        capacity: of it, in samples.
        capacity_nbytes: of it, in bytes, where the sizes of samples differ; None: they do not.
        views_per_sample: draws that each sample stands for, if that is fixed.
        held_out: empty so far.
        consumers: whose state was saved, by name.

    Returns:
        What else was saved, and what the launcher must be told.

    Raises:
        ConfigurationError: it does not fit to the configuration.
        CheckpointDamagedError: another rank's part is damaged.
    """
    if found.manifest.layout_id != layout.layout_id:
        raise ConfigurationError(
            f"checkpoint {found.manifest.number} is of other fields or parameters: a study goes on with those that it "
            "began with; write solver.fields and solver.parameters as they were, or begin another study"
        )
    indexes, is_same = found.indexes, len(found.shards) == num_ranks
    if indexes[0].window != window:
        raise ConfigurationError(
            f"checkpoint {found.manifest.number} holds samples of {_told(indexes[0].window)}, but those of "
            f"training.task are {_told(window)} now: a study goes on with the samples that it began "
            "with; change the task back, or begin another study"
        )
    over, steps = over_and_steps([index.delivered for index in indexes])
    mine = owned(steps, rank, num_ranks, routing)
    states = [index.buffer for index in indexes]
    all_fit = all(s.size <= capacity and s.nbytes <= (capacity_nbytes or 0) for s in states)
    if is_same and all_fit:
        state, rows = states[rank], tuple(np.arange(s.size if i == rank else 0) for i, s in enumerate(states))
    else:
        state, rows = _dealt(
            states,
            rank=rank,
            num_ranks=num_ranks,
            capacity=capacity,
            capacity_nbytes=capacity_nbytes,
            views_per_sample=views_per_sample,
        )
    buffer.restore(state, _chosen_rows(found.shards, rows, layout, window))
    for shard, index in [(found.shards[rank], indexes[rank])] if is_same else zip(found.shards, indexes, strict=True):
        attempts = index.held_out_attempts
        for piece in shard.held_out(_memory_of(shard.longest_held_out, layout, window)):
            some, attempts = np.split(attempts, [len(piece.labels)])
            held_out.restore(
                piece, some, owned=lambda key: owner_of(key.simulation, key.step, num_ranks, routing) == rank
            )
    counted = indexes[rank : rank + 1] if is_same else indexes if rank == 0 else []
    saved = found.shards[rank if rank < len(found.shards) else 0].state()
    if not is_same:
        saved["training"]["samples"] = sum(index.samples for index in counted)
    _restore_consumers(consumers, saved["consumers"], rank, num_ranks, num_saved=len(found.shards))
    receiver.between_samples(_going_on(assembler, receiver, over, mine, counted), _LOOK_S)
    return saved, Restored(
        checkpoint=found.manifest.number,
        over=over.ranges,
        delivered=tuple(HeldSteps(simulation=number, steps=some.ranges) for number, some in mine.items()),
    )


def _told(window: Window | None) -> str:
    if window is None:
        return "one time step"
    return f"windows of {window.length} time steps, {window.stride} apart, one every {window.hop}"


def _restore_consumers(
    consumers: Mapping[str, Stateful], states: Mapping[str, Any], rank: int, num_ranks: int, *, num_saved: int
) -> None:
    """Each goes on from what the one of its rank knew, if there was that rank."""
    if consumers and rank == 0 and num_saved > num_ranks:
        sys.stderr.write(
            f"WARNING: what {', '.join(consumers)} (training.consumers) knew on the server ranks from {num_ranks} on "
            "is lost, because there are fewer now\n"
        )
    if rank < num_saved:
        for name in consumers.keys() & states.keys():
            consumers[name].load_state_dict(states[name])


def _going_on(
    assembler: Assembler, receiver: Receiver, over: Ranges, steps: Mapping[int, Ranges], counted: Sequence[Index]
) -> Callable[[object], None]:
    """What the receiving thread does: it owns the assembler and its counts."""

    def go_on(undelivered: object) -> None:
        received, duplicates, refused = Index.merged(counted)
        assembler.restore(over, steps)
        assembler.duplicates_dropped += duplicates
        receiver.num_bytes += received
        receiver.refused.update(refused)

    return go_on


def _dealt(states: Sequence[BufferState], **settings: Any) -> tuple[BufferState, tuple[SlotArray, ...]]:
    """See `deal`."""
    try:
        share = deal(states, **settings)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return share.state, share.rows


def _chosen_rows(
    shards: Sequence[Shard], rows: Sequence[SlotArray], layout: Layout, window: Window | None
) -> Iterator[SavedRows]:
    """The samples at these positions of each shard, piece by piece.

    Where sizes differ, pieces of which none is wanted come too: those after them refer to the meshes that they hold.
    """
    for shard, wanted in zip(shards, rows, strict=True):
        if not len(wanted):
            continue
        first = 0
        for piece in shard.samples(_memory_of(shard.longest_samples, layout, window)):
            inside = wanted[(wanted >= first) & (wanted < first + len(piece.labels))] - first
            first += len(piece.labels)
            if len(inside) == len(piece.labels):
                yield piece
            elif len(inside) or layout.is_ragged:
                yield piece.choose(inside)


def _memory_of(num_rows: int, layout: Layout, window: Window | None) -> RowsMemory:
    length = None if window is None else window.length
    if layout.is_ragged:
        return RowsToRead(RaggedForm(layout=layout, window_length=length))
    return allocate(layout, num_rows, device=torch.device("cpu"), window_length=length)
