"""The receiving half of a server rank: socket, assembler, receiving and control thread, opened and closed as one.

A server rank that trains and the one that only checks a solver differ in where samples go, and in nothing here.
"""

import os
import socket as host_names
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from melissa_like.assembly import Assembler, Consumer
from melissa_like.config import Config, layout_of, routing_of
from melissa_like.monitoring import Sink
from melissa_like.protocol import read_connection
from melissa_like.protocol.control import ControlMessage, ServerFailed, ServerFinished, ServerHello, TrainingEnd
from melissa_like.records import Purpose
from melissa_like.server.receiver import Receiver
from melissa_like.server.reporter import Orders, Reporter
from melissa_like.transport import Transport

__all__ = ["Reception"]

_CLOSE_S = 10.0
_QUEUED_MESSAGES = 8


class Reception:
    """Receives from when it is entered until it is left.

    Args:
        consumers: of the samples of each purpose. It closes none of them.
        measure: present metrics, asked for on the control thread.
        on_reception_over: nothing more comes; on the control thread.
        on_stop: the launcher ends the study; on the control thread.
        on_error: one of the two threads died of this exception.
        on_simulation_over: nothing more comes of a simulation, and so many training samples never will; on the control
            thread.
    """

    def __init__(
        self,
        *,
        config: Config,
        run_dir: Path,
        rank: int,
        transport: Transport,
        consumers: Mapping[Purpose, Consumer],
        measure: Callable[[], Mapping[str, float]],
        reporting_sinks: Sequence[Sink],
        device: str,
        on_reception_over: Callable[[], None],
        on_stop: Callable[[str], None],
        on_error: Callable[[BaseException], None],
        on_simulation_over: Callable[[int, int], None] = lambda simulation, given_up: None,
    ) -> None:
        self._stack = ExitStack()
        self._rank = rank
        self._failed = False
        connection = read_connection(run_dir)
        layout = layout_of(config.solver)
        self._parts = transport.part_receiver(
            queue_length=_QUEUED_MESSAGES,
            max_nbytes=max(8 * len(layout.parameters), *(field.nbytes for field in layout.fields)),
        )
        self.assembler = Assembler(
            layout=layout,
            identity=connection.identity(),
            server_rank=rank,
            num_server_ranks=config.launcher.num_server_ranks,
            routing=routing_of(config.transport),
            consumers=consumers,
        )
        self.receiver = Receiver(
            socket=self._parts,
            assembler=self.assembler,
            consumers=consumers,
            tell=lambda news: self.reporter.tell(news),
            on_error=on_error,
        )

        def forget(simulation: int, given_up: int) -> None:
            self.receiver.forget(simulation)
            on_simulation_over(simulation, given_up)

        self.reporter = Reporter(
            socket=transport.control_client(connection.endpoint, f"server-{rank}".encode()),
            identity=connection.identity(),
            hello=ServerHello(
                rank=rank,
                endpoint=self._parts.endpoint,
                host=host_names.gethostname(),
                pid=os.getpid(),
                device=device,
            ),
            orders=Orders(simulation_over=forget, reception_over=on_reception_over, stop=on_stop),
            measure=measure,
            put_waits=lambda: self.receiver.put_waits,
            sinks=reporting_sinks,
            interval_s=config.monitoring.interval_s,
            on_error=on_error,
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

    def finish(self, end: TrainingEnd, summary: dict[str, dict[str, Any]], history: Sequence[dict[str, float]]) -> None:
        """Tell the launcher that this rank has come to its end."""
        self._tell(ServerFinished(rank=self._rank, end=end, summary=summary, history=tuple(history)))

    def fail(self, message: str) -> None:
        """Tell the launcher that this rank ends because of an error; the first one counts."""
        if not self._failed:
            self._failed = True
            self._tell(ServerFailed(rank=self._rank, message=message))

    def _tell(self, message: ControlMessage) -> None:
        self.reporter.tell(message)
