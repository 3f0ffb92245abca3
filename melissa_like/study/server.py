"""The life of the server ranks: which incarnation, who receives, what they have restored, who has trained.

The first incarnation is ready when all its ranks have said hello. Later ones load a checkpoint when they have met, and
are ready when all have said what is in it.
"""

from collections.abc import Collection
from typing import Self

import msgspec

from melissa_like.protocol.control import Checkpointed, Restored, ServerHello, TrainingEnd
from melissa_like.records import ServerRank

__all__ = ["ServerLife", "ServerSnapshot"]

_LONGEST_PAUSE_S = 30.0
#: How often a machine may take the server ranks, or have them leave, without progress in between, before it counts as a
#: failure of theirs: they may be given too little time to train at all.
_MOST_BY_MACHINE = 30


class ServerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a `ServerLife` knows."""

    num_ranks: int
    max_restarts: int
    hellos: dict[int, ServerHello]
    incarnation: int
    ranks: tuple[ServerRank, ...]
    was_tried: bool
    ready: bool
    started_at: float | None
    paused_until: float | None
    dumb_ends: int
    leaving: str | None
    lost_because: str | None
    losses: list[str]
    num_restarts: int
    lost_by_machine: int
    checkpoint: Checkpointed | None
    most_batches: int
    restored: dict[int, Restored]
    alive: list[int]
    trained: dict[int, TrainingEnd]
    failed: dict[int, str]
    failed_at: float | None
    pressed: list[int]


class ServerLife:
    """All server ranks together: they start, end and are replaced together.

    Args:
        num_ranks: server ranks.
        max_restarts: how often they may be started again without progress in between: a checkpoint of more training
            steps than any before it of the same launcher.

    Attributes:
        incarnation: 0 before the first start, then 1, 2, ...; what an earlier one said does not count.
        started_at: since when the next ones are awaited: their start, or the loss of those before; None before, and as
            long as one waits in a scheduler's queue.
        paused_until: when the next ones are started, if they are not at once; None otherwise.
        leaving: why the present ones save and end, to be started again as soon as they have; None: they are to stay.
        lost_because: why the present ones are to be replaced, once one was lost; None while all live.
        losses: why each of the former incarnations was lost.
        num_restarts: since the newest checkpoint that was progress, if there is one.
        checkpoint: the newest one; None before the first.
        ranks: the addresses of the present incarnation.
        was_tried: whether rank 0 has tried the training for this launcher, now or before: only then it says hello.
        ready: whether every rank receives, and has what it could restore.
        trained: how the training of each rank ended, of those whose has.
        failed: what each rank said that failed, the first one first.
        failed_at: when the first one did.
        pressed: ranks on which a put waits.
    """

    def __init__(self, num_ranks: int, max_restarts: int) -> None:
        self.num_ranks = num_ranks
        self._max_restarts = max_restarts
        self._hellos: dict[int, ServerHello] = {}
        self.incarnation = 0
        self.ranks: tuple[ServerRank, ...] = ()
        self.was_tried = False
        self.ready = False
        self.started_at: float | None = None
        self.paused_until: float | None = None
        self._dumb_ends = 0
        self.leaving: str | None = None
        self.lost_because: str | None = None
        self.losses: list[str] = []
        self.num_restarts = 0
        self._lost_by_machine = 0  # since the same checkpoint
        self.checkpoint: Checkpointed | None = None
        self._most_batches = 0  # of the checkpoints of this launcher
        self._restored: dict[int, Restored] = {}
        self._alive: set[int] = set()
        self.trained: dict[int, TrainingEnd] = {}
        self.failed: dict[int, str] = {}
        self.failed_at: float | None = None
        self.pressed: set[int] = set()

    def snapshot(self) -> ServerSnapshot:
        """All of it, as it is until anything is changed."""
        return ServerSnapshot(
            num_ranks=self.num_ranks,
            max_restarts=self._max_restarts,
            hellos=self._hellos,
            incarnation=self.incarnation,
            ranks=self.ranks,
            was_tried=self.was_tried,
            ready=self.ready,
            started_at=self.started_at,
            paused_until=self.paused_until,
            dumb_ends=self._dumb_ends,
            leaving=self.leaving,
            lost_because=self.lost_because,
            losses=self.losses,
            num_restarts=self.num_restarts,
            lost_by_machine=self._lost_by_machine,
            checkpoint=self.checkpoint,
            most_batches=self._most_batches,
            restored=self._restored,
            alive=sorted(self._alive),
            trained=self.trained,
            failed=self.failed,
            failed_at=self.failed_at,
            pressed=sorted(self.pressed),
        )

    @classmethod
    def from_snapshot(cls, kept: ServerSnapshot) -> Self:
        """The life of which a snapshot was taken."""
        made = cls(kept.num_ranks, kept.max_restarts)
        made._hellos, made._restored = kept.hellos, kept.restored
        made.incarnation, made.ranks = kept.incarnation, kept.ranks
        made.was_tried, made.ready = kept.was_tried, kept.ready
        made.started_at, made.paused_until = kept.started_at, kept.paused_until
        made._dumb_ends, made.leaving, made.lost_because = kept.dumb_ends, kept.leaving, kept.lost_because
        made.losses, made.num_restarts, made._lost_by_machine = kept.losses, kept.num_restarts, kept.lost_by_machine
        made.checkpoint, made._most_batches = kept.checkpoint, kept.most_batches
        made._alive, made.pressed = set(kept.alive), set(kept.pressed)
        made.trained, made.failed, made.failed_at = kept.trained, kept.failed, kept.failed_at
        return made

    @property
    def is_queued(self) -> bool:
        """Whether a server rank waits in a scheduler's queue."""
        return self.incarnation > 0 and self.started_at is None and not self.ready

    def start(self, now: float) -> None:
        """The next incarnation is started; what the last one had said is forgotten."""
        self.incarnation += 1
        self.started_at, self.lost_because, self.paused_until = now, None, None
        self.ranks = tuple(ServerRank(rank, self.incarnation) for rank in range(self.num_ranks))
        self._alive = set(range(self.num_ranks))

    def resume(self, num_ranks: int, max_restarts: int) -> None:
        """No process of the present incarnation is left, and the next one may be of another number of ranks."""
        self._forget()
        self._dumb_ends = 0
        self.was_tried = False  # the configuration may have changed, the machine, or the user's modules
        self.num_ranks, self._max_restarts = num_ranks, max_restarts
        self.num_restarts = self._lost_by_machine = self._most_batches = (
            0  # the user may have removed checkpoints, to train anew
        )

    def lose(self, why: str, now: float, *, by_machine: bool = False) -> None:
        """One was lost, so all are: what they had said is forgotten, and what they still say does not count.

        Args:
            why: it was lost.
            now: the time.
            by_machine: with its node, or it was preempted: no fault of its own, unless that happens again and again.
        """
        self.started_at, self.lost_because = now, why
        self.losses.append(why)
        taken = by_machine or self.leaving is not None
        self._lost_by_machine += taken
        self.num_restarts += not (taken and self._lost_by_machine <= _MOST_BY_MACHINE)
        self._dumb_ends = 0 if self._hellos else self._dumb_ends + 1
        self._forget()

    def leave(self, why: str, until: float) -> None:
        """They are told to save and to end, which is no failure; until then they may take their time."""
        self.leaving, self.ready, self.started_at = why, False, until

    def _forget(self) -> None:
        self.ready = False
        self.leaving = None
        self._hellos.clear()
        self._restored.clear()
        self.trained.clear()
        self.failed.clear()
        self.failed_at = None
        self.pressed.clear()

    def pause(self, now: float) -> bool:
        """Whether the next ones should wait a little, until `paused_until`.

        Some that end before a single one has said hello may have lacked what comes back by itself: room on the disk, a
        scheduler that answers. The restarts that are allowed would be used up in a moment.
        """
        self.paused_until = now + min(2.0 ** (self._dumb_ends - 1), _LONGEST_PAUSE_S) if self._dumb_ends else None
        return self.paused_until is not None

    def fail(self, rank: int, what: str, now: float) -> None:
        """A rank has raised; perhaps only because another one is gone."""
        self.failed.setdefault(rank, what)
        self.failed_at = now if self.failed_at is None else self.failed_at

    @property
    def all_accounted_for(self) -> bool:
        """Whether every rank has said how it came to its end."""
        return len(self.failed.keys() | self.trained.keys()) == self.num_ranks

    def end(self, address: ServerRank) -> None:
        """No process of this rank is left."""
        if address.incarnation == self.incarnation:
            self._alive.discard(address.rank)

    @property
    def has_ended(self) -> bool:
        """Whether no process of the present incarnation is left."""
        return not self._alive

    def may_restart(self, *, by_machine: bool = False) -> bool:
        """Whether they may be started once more, after one was lost in this way."""
        taken = by_machine or self.leaving is not None
        return (taken and self._lost_by_machine < _MOST_BY_MACHINE) or self.num_restarts < self._max_restarts

    def is_present(self, address: ServerRank) -> bool:
        """Whether an address is one of the present incarnation's, and that is not lost."""
        return address.incarnation == self.incarnation and address.rank < self.num_ranks and self.lost_because is None

    def greet(self, rank: int, hello: ServerHello) -> None:
        """A rank receives."""
        self._hellos[rank] = hello
        self.was_tried = self.was_tried or rank == 0
        self.ready = self.has_met and self.has_restored and self.leaving is None

    def restore(self, rank: int, message: Restored) -> Collection[Restored] | None:
        """A rank of a later incarnation has loaded the newest checkpoint.

        Returns:
            What all ranks have said, once the last one has; None before, and if this one had said it already.
        """
        if rank in self._restored:
            return None
        self._restored[rank] = message
        self.ready = self.has_met and self.has_restored and self.leaving is None
        return self._restored.values() if self.has_restored else None

    def save(self, message: Checkpointed) -> None:
        """There is a new checkpoint; only one that is further than all before renews the restarts that are allowed.

        Ranks that restore one, save that again and die would otherwise be started for ever.
        """
        self.checkpoint = message
        if message.batches > self._most_batches:
            self._most_batches, self.num_restarts, self._lost_by_machine = message.batches, 0, 0

    @property
    def greeted(self) -> tuple[int, ...]:
        """The ranks that receive."""
        return tuple(self._hellos)

    @property
    def has_tried(self) -> bool:
        """Whether rank 0 has tried the training and found that it works: only then it says hello."""
        return 0 in self._hellos

    @property
    def has_met(self) -> bool:
        """Whether every rank has said hello, so that they may wait for each other from now on."""
        return len(self._hellos) == self.num_ranks

    @property
    def has_restored(self) -> bool:
        """Whether it is known of every rank what it holds: of the first incarnation nothing."""
        return self.incarnation == 1 or len(self._restored) == self.num_ranks

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where they receive, by rank."""
        return tuple(self._hellos[rank].endpoint for rank in sorted(self._hellos))

    @property
    def rendezvous(self) -> str | None:
        """Where they meet, once rank 0 has said so."""
        return self._hellos[0].rendezvous if 0 in self._hellos else None

    @property
    def has_trained(self) -> bool:
        """Whether the training of every rank has ended."""
        return len(self.trained) == self.num_ranks
