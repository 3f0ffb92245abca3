"""A launcher that is scripted, and the end that receives: the other side of a client."""

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from melissa_like.client import Client
from melissa_like.client.runner import run_plugin
from melissa_like.launcher.peers import Peers
from melissa_like.protocol import Connection
from melissa_like.protocol import control as say
from melissa_like.protocol.wire import Header, Kind, decode
from melissa_like.transport.in_memory import MemoryTransport
from tests.unit.ranks import Threads, on_ranks

FIELDS = (say.WireField(name="v", shape=(2, 3, 4), dtype="float32", components=2),)


class Study:
    """Answers every request by the next of its answers, and remembers what it was told."""

    def __init__(
        self,
        *answers: say.ControlMessage,
        fields: tuple[say.WireField, ...] = FIELDS,
        extents: tuple[str, ...] = (),
        static: tuple[say.WireField, ...] = (),
    ) -> None:
        self._fields = fields
        self._extents = extents
        self._static = static
        self.transport = MemoryTransport()
        self.server = self.transport.control_server()
        self.receiver = self.transport.part_receiver(queue_length=1000)
        self.connection = Connection(
            endpoint=self.server.endpoint,
            server_endpoint=self.server.server_endpoint,
            study=os.urandom(16),
            secret=b"k" * 16,
            launcher_incarnation=1,
        )
        self.heard: list[say.ControlMessage] = []
        self._answers = list(answers)
        self._parts: list[Header] = []
        self._taking = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._answer)

    def __enter__(self) -> "Study":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self.server.wake()
        self._thread.join(10.0)

    def client(self, job: str = "job-0001") -> Client:
        return Client(transport=self.transport, connection=self.connection, job=job)

    def arrived(self) -> list[Header]:
        """The parts that have come since the last call, without the OPENs."""
        return [header for header in self.messages() if header.kind is Kind.PART]

    def messages(self) -> list[Header]:
        """All that has come since the last call."""
        self._take_parts()
        with self._taking:
            parts, self._parts = self._parts, []
        return parts

    def of(self, kind: type[say.ControlMessage]) -> list[say.ControlMessage]:
        return [message for message in self.heard if isinstance(message, kind)]

    def _answer(self) -> None:
        peers = Peers(self.server, self.connection.identity())
        while not self._over.is_set():
            received = peers.receive(0.02)
            if received is not None and received[1] is not None:
                peer, message = received
                self.heard.append(message)
                if isinstance(message, say.Hello):
                    peers.tell(peer, self._welcome())
                elif isinstance(message, say.Request):
                    peers.tell(peer, self._answers.pop(0))
            peers.repeat()
            self._take_parts()

    def _take_parts(self) -> None:
        with self._taking:
            while (received := self.receiver.receive(lambda header: None, 0.0)) is not None:
                self._parts.append(decode(received.header))

    def _welcome(self) -> say.ControlMessage:
        return say.Welcome(
            server_endpoints=(self.receiver.endpoint,),
            server_incarnation=1,
            launcher_incarnation=1,
            routing=0,
            layout_id=7,
            fields=self._fields,
            parameters=("a",),
            num_steps=None,
            budget_bytes=2**20,
            heartbeat_s=5.0,
            orphan_timeout_s=300.0,
            extents=self._extents,
            static=self._static,
        )


def solve_on_ranks(
    study: Study, num_ranks: int, solver: Callable[[int], Iterable[Any]]
) -> tuple[Study, list[BaseException | None]]:
    """Run a job of a study that is not entered: the study, which has heard it, and what each rank raised.

    Args:
        solver: from a rank to what it yields.
    """
    with study:

        def one(team: Threads) -> None:
            client = study.client()
            client.team = team
            try:
                run_plugin(lambda parameters, comm: solver(comm.rank), {}, client, team)
            except BaseException:
                team.abort()  # as `python -m mpi4py` does
                raise

        raised = on_ranks(num_ranks, one)
    return study, raised


def failures_of(study: Study) -> list[say.Failure]:
    """What the launcher was told by those that would live to tell it."""
    told = [message for message in study.heard if isinstance(message, say.Failure)]
    return [failure for failure in told if "KilledError" not in failure.message]
