"""The receiving half of a server rank: socket, assembler, receiving and control thread, opened and closed as one.

A server rank that trains and the one that only checks a solver differ in where samples go, and in nothing here.
"""

import math
import os
import socket as host_names
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from melissa_like.assembly import Assembler, Consumer, OverSimulations
from melissa_like.config import Config, layout_of, routing_of
from melissa_like.monitoring import Sink
from melissa_like.protocol import read_connection
from melissa_like.protocol.control import ControlMessage, Metrics, ServerFailed, ServerHello, SimulationOver
from melissa_like.records import Layout, Purpose, Routing, SampleKey, ServerRank, StudyIdentity, Window
from melissa_like.server.receiver import Receiver
from melissa_like.server.reporter import Orders, Reporter
from melissa_like.transport import PartReceiver, Transport

__all__ = ["Place", "Reception", "place_of", "queue_length", "tell_failure"]

#: Of a payload where each simulation says its own sizes; and the bytes of a number in a list of points, of which a
#: field may have one each.
_LARGEST_PART_BYTES, _INDEX_BYTES = 256 * 2**20, 8
_CLOSE_S = 10.0
#: Messages of one client rank that wait on this side, if there are not very many client ranks; and what those of all
#: of them together may take. A message has a megabyte at most, unless a part is larger.
_QUEUED_MESSAGES, _QUEUED_BYTES, _MESSAGE_BYTES = 8, 2**31, 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which server rank this is, of which study, and where its launcher is.

    Attributes:
        orphan_timeout_s: a launcher that lets a question wait for so long is gone.
        num_simulations: held-out ones too.
        num_steps: of a simulation; None if only the solver knows.
        max_jobs: that send at once.
        num_ranks: client ranks of each.
        window: what a sample is; None: one time step.
        deterministic: a window may be of several attempts.
        most_nbytes: that a sample and what its simulation sends once may take together, where simulations have sizes of
            their own; None: any.
    """

    address: ServerRank
    num_server_ranks: int
    layout: Layout
    routing: Routing
    identity: StudyIdentity
    orphan_timeout_s: float = math.inf
    launcher: str
    num_simulations: int | None = None
    num_steps: int | None = None
    max_jobs: int = 1
    num_ranks: int = 1
    window: Window | None = None
    deterministic: bool = False
    most_nbytes: int | None = None


def place_of(config: Config, run_dir: Path, address: ServerRank) -> Place:
    """The place of a server rank of a study that runs; what a sample is it does not know yet.

    Raises:
        ConfigurationError: no study runs there.
    """
    connection = read_connection(run_dir, "server")
    return Place(
        address=address,
        num_server_ranks=config.launcher.num_server_ranks,
        layout=layout_of(config.solver),
        routing=routing_of(config.transport),
        identity=connection.identity(address.incarnation),
        orphan_timeout_s=config.launcher.orphan_timeout_s,
        launcher=connection.server_endpoint,
        num_simulations=config.study.num_simulations + config.study.num_validation_simulations,
        num_steps=config.solver.num_steps,
        max_jobs=config.launcher.max_jobs,
        num_ranks=config.solver.num_ranks,
        deterministic=config.solver.deterministic,
    )


def _largest_payload(place: Place) -> int:
    """Bytes that a payload may have."""
    known = _largest_known(place.layout)
    if not place.layout.extents:
        return known
    most = _LARGEST_PART_BYTES if place.most_nbytes is None else _INDEX_BYTES * place.most_nbytes
    return max(known, min(most, _LARGEST_PART_BYTES))


def _largest_known(layout: Layout) -> int:
    """Bytes of the largest payload, as far as sizes are known."""
    return max(8 * len(layout.parameters), *(field.nbytes for field in (*layout.fields, *layout.static)))


def queue_length(max_jobs: int, num_ranks: int, field_nbytes: int) -> int:
    """Messages of each client rank that may wait at a server rank: fewer when there are thousands, at least one.

    What waits here counts as having left for the client, so its own bound on bytes in flight does not hold for it.

    Args:
        max_jobs: that send at once.
        num_ranks: client ranks of each, which share a field evenly, about.
        field_nbytes: of the largest field.
    """
    each = max(_MESSAGE_BYTES, field_nbytes // num_ranks)
    return max(1, min(_QUEUED_MESSAGES, _QUEUED_BYTES // (each * max_jobs * num_ranks)))


def tell_failure(place: Place, transport: Transport, message: str) -> None:
    """Tell the launcher that a rank ends before it has a reception that could; blocks until it has heard it.

    Args:
        place: of the rank.
        transport: how messages travel.
        message: why.
    """
    lost: list[BaseException] = []
    reporter = Reporter(
        socket=transport.control_client(place.launcher, str(place.address).encode()),
        identity=place.identity,
        orders=Orders(),
        measure=Metrics,
        put_waits=lambda: False,
        sinks=(),
        interval_s=_CLOSE_S,
        on_error=lost.append,
    )
    reporter.start()
    reporter.tell(ServerFailed(message=message))
    reporter.close(_CLOSE_S)
    if lost:
        raise lost[0]


class Reception:
    """Receives from when it is entered until it is left; the launcher sends nobody before `say_hello`.

    Args:
        place: of this rank.
        transport: how messages travel.
        consumers: of the samples of each purpose. It closes none of them.
        orders: what to do when the launcher speaks; on the control thread.
        on_error: one of the two threads died of this exception.
        measure: present metrics, asked for on the control thread.
        sinks: of the metrics.
        interval_s: between two reports of metrics.
        device: that this rank trains on, for people.
        rendezvous: where the other ranks meet this one, if it is rank 0 of several.
        handed_over: as the `Receiver` is told.
        over: simulations that are over, none so far; None: no checkpoint is taken.
        through: what the parts are received through; by default nothing is in between.
    """

    def __init__(
        self,
        place: Place,
        *,
        transport: Transport,
        consumers: Mapping[Purpose, Consumer],
        orders: Orders,
        on_error: Callable[[BaseException], None],
        measure: Callable[[], Metrics] = Metrics,
        sinks: Sequence[Sink] = (),
        interval_s: float = 0.5,
        device: str = "none",
        rendezvous: str = "",
        handed_over: Callable[[], Collection[SampleKey]] = tuple,
        over: OverSimulations | None = None,
        through: Callable[[PartReceiver], PartReceiver] = lambda parts: parts,
    ) -> None:
        self._stack = ExitStack()
        self._failed = False
        layout = place.layout
        parts = transport.part_receiver(
            queue_length=queue_length(place.max_jobs, place.num_ranks, _largest_known(layout)),
            max_nbytes=_largest_payload(place),
        )
        self._parts = through(parts)
        self.assembler = Assembler(
            layout=layout,
            identity=place.identity,
            server_rank=place.address.rank,
            num_server_ranks=place.num_server_ranks,
            routing=place.routing,
            consumers=consumers,
            over=over,
            num_simulations=place.num_simulations,
            num_steps=place.num_steps,
            window=place.window,
            mixes=place.deterministic,
            most_nbytes=place.most_nbytes,
        )
        self.receiver = Receiver(
            socket=self._parts,
            assembler=self.assembler,
            consumers=consumers,
            tell=lambda news: self.reporter.tell(news),
            on_error=on_error,
            handed_over=handed_over,
            tells_held=place.window is not None and place.deterministic,
        )

        def forget(message: SimulationOver) -> None:
            self.receiver.forget(message.simulation)
            orders.simulation_over(message)

        self._hello = ServerHello(
            endpoint=self._parts.endpoint,
            host=host_names.gethostname(),
            pid=os.getpid(),
            device=device,
            rendezvous=rendezvous,
            window=place.window,
        )
        self.reporter = Reporter(
            socket=transport.control_client(place.launcher, str(place.address).encode()),
            identity=place.identity,
            orders=replace(orders, simulation_over=forget),
            measure=measure,
            put_waits=lambda: self.receiver.put_waits,
            sinks=sinks,
            interval_s=interval_s,
            on_error=on_error,
            orphan_timeout_s=place.orphan_timeout_s,
        )

    def __enter__(self) -> "Reception":
        self._stack.callback(self.reporter.close, _CLOSE_S)
        self._stack.callback(self.receiver.close, _CLOSE_S)
        self.receiver.start()
        self.reporter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def say_hello(self) -> None:
        """Announce this rank: the launcher may send it solvers, and if it is rank 0, start them."""
        self.tell(self._hello)

    def tell(self, message: ControlMessage) -> None:
        """Say something to the launcher; from any thread, never blocks."""
        self.reporter.tell(message)

    def fail(self, message: str) -> None:
        """Tell the launcher that this rank ends because of an error; the first one counts."""
        if not self._failed:
            self._failed = True
            self.tell(ServerFailed(message=message))
