"""The life of the server ranks: which incarnation, who receives, who has trained, whose put waits."""

from melissa_like.protocol.control import ServerHello, TrainingEnd
from melissa_like.records import ServerRank

__all__ = ["ServerLife"]


class ServerLife:
    """All server ranks together: they start, end and are replaced together.

    Args:
        num_ranks: server ranks.
        max_restarts: how often they may be started again.

    Attributes:
        incarnation: 0 before the first start, then 1, 2, ...; what an earlier one said does not count.
        started_at: when the present ones were started; None before.
        trained: how the training of each rank ended, of those whose has.
        pressed: ranks on which a put waits.
    """

    def __init__(self, num_ranks: int, max_restarts: int) -> None:
        self.num_ranks = num_ranks
        self._max_restarts = max_restarts
        self._hellos: dict[int, ServerHello] = {}
        self.incarnation = 0
        self.started_at: float | None = None
        self.trained: dict[int, TrainingEnd] = {}
        self.pressed: set[int] = set()

    def start(self, now: float) -> None:
        """The next incarnation is started; what the last one had said is forgotten."""
        self.incarnation += 1
        self.started_at = now
        self._hellos.clear()
        self.trained.clear()
        self.pressed.clear()

    @property
    def may_restart(self) -> bool:
        """Whether they may be started once more."""
        return self.incarnation <= self._max_restarts

    def is_present(self, address: ServerRank) -> bool:
        """Whether an address is one of the present incarnation's."""
        return address.incarnation == self.incarnation and address.rank < self.num_ranks

    def greet(self, rank: int, hello: ServerHello) -> None:
        """A rank receives."""
        self._hellos[rank] = hello

    @property
    def ranks(self) -> tuple[ServerRank, ...]:
        """The addresses of the present incarnation."""
        return tuple(ServerRank(rank, self.incarnation) for rank in range(self.num_ranks))

    @property
    def greeted(self) -> tuple[int, ...]:
        """The ranks that receive."""
        return tuple(self._hellos)

    @property
    def has_tried(self) -> bool:
        """Whether rank 0 has tried the training and found that it works: only then it says hello."""
        return 0 in self._hellos

    @property
    def ready(self) -> bool:
        """Whether every rank receives."""
        return len(self._hellos) == self.num_ranks

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
