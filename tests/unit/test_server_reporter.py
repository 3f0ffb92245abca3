"""What a server rank tells the launcher, and when."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from melissa_like.assembly import Reason
from melissa_like.protocol.control import Acknowledge, ControlMessage, Metrics, Progress, RejectedPart, ServerHello
from melissa_like.protocol.link import Link
from melissa_like.records import StudyIdentity
from melissa_like.server.receiver import Arrival, Rejection
from melissa_like.server.reporter import Orders, Reporter
from melissa_like.transport.in_memory import MemoryTransport

IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)
HELLO = ServerHello(endpoint="memory://parts", host="here", pid=1, device="cpu")
DEADLINE_S = 10.0
_NO_ORDERS = Orders()

_Said = TypeVar("_Said", bound=ControlMessage)


class Launcher:
    """The other end: hears what the rank says."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.socket = transport.control_server(None)
        self.link = Link(IDENTITY)

    def hear(self, kind: type[_Said]) -> _Said:
        """The next message of a kind; the others are acknowledged and dropped."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            received = self.socket.receive(0.1)
            if received is None:
                continue
            message = self.link.receive(received[1])
            for answer in self.link.due(time.monotonic()):
                self.socket.send(received[0], answer)
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} within {DEADLINE_S:g} s")


def made(socket: Any, *, orders: Orders = _NO_ORDERS, orphan_timeout_s: float = math.inf) -> Reporter:
    """A reporter that is not started."""
    return Reporter(
        socket=socket,
        identity=IDENTITY,
        orders=orders,
        measure=Metrics,
        put_waits=lambda: False,
        sinks=(),
        interval_s=60.0,
        on_error=pytest.fail,
        orphan_timeout_s=orphan_timeout_s,
    )


@contextmanager
def reporting(transport: MemoryTransport, launcher: Launcher) -> Iterator[Reporter]:
    """A rank that has said hello."""
    reporter = made(transport.control_client(launcher.socket.endpoint, b"server-0"))
    reporter.start()
    try:
        reporter.tell(HELLO)
        launcher.hear(ServerHello)
        yield reporter
    finally:
        stop = threading.Event()
        rest = threading.Thread(target=lambda: _acknowledge(launcher, stop), name="launcher")
        rest.start()
        reporter.close(DEADLINE_S)
        stop.set()
        rest.join(DEADLINE_S)


def _acknowledge(launcher: Launcher, stop: threading.Event) -> None:
    while not stop.is_set():
        received = launcher.socket.receive(0.05)
        if received is not None:
            launcher.link.receive(received[1])
            for answer in launcher.link.due(time.monotonic()):
                launcher.socket.send(received[0], answer)


class CountingSocket:
    """A control socket that counts its wake-ups; the reporter's thread is not started, so nobody reads."""

    def __init__(self) -> None:
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1


def test_only_what_is_worth_it_wakes_the_control_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("melissa_like.server.reporter.time.monotonic", lambda: now)
    socket = CountingSocket()
    reporter = made(socket)
    for _ in range(100):
        reporter.tell(Arrival(simulation=0, attempt=1))
    assert socket.wakes == 0
    for step in range(100):
        reporter.tell(Arrival(simulation=0, attempt=1, steps=(step,)))
    assert socket.wakes == 1
    now += 0.006
    reporter.tell(Arrival(simulation=0, attempt=1, steps=(100,)))
    assert socket.wakes == 2
    reporter.tell(Rejection(simulation=0, attempt=1, reason=Reason.OUTSIDE.value, message="why"))
    assert socket.wakes == 3


@pytest.mark.parametrize(("reason", "breaks"), [(Reason.UNDECLARED_FIELD, True), (Reason.NOT_OPENED, False)])
def test_a_refusal_says_whether_another_attempt_would_do_the_same(reason: Reason, breaks: bool) -> None:
    transport = MemoryTransport()
    launcher = Launcher(transport)
    with reporting(transport, launcher) as reporter:
        reporter.tell(Rejection(simulation=3, attempt=1, reason=reason.value, message="why"))
        told = launcher.hear(RejectedPart)
    assert (told.simulation, told.attempt, told.message, told.breaks_contract) == (3, 1, "why", breaks)


def test_arrivals_are_added_up_per_attempt() -> None:
    transport = MemoryTransport()
    launcher = Launcher(transport)
    with reporting(transport, launcher) as reporter:
        for steps_delivered in ((), (), (0,), (), (1, 2)):
            reporter.tell(Arrival(simulation=3, attempt=1, steps=steps_delivered))
        steps: list[int] = []
        num_parts = 0
        while num_parts < 5:
            for delivery in launcher.hear(Progress).deliveries:
                assert (delivery.simulation, delivery.attempt) == (3, 1)
                steps += delivery.steps
                num_parts += delivery.num_parts
    assert (steps, num_parts) == ([0, 1, 2], 5)


def test_a_rank_whose_launcher_is_gone_is_told_to_stop_and_one_that_is_answered_is_not() -> None:
    transport = MemoryTransport()
    launcher, stopped = Launcher(transport), threading.Event()
    reasons: list[str] = []

    def stop(reason: str, save_within_s: float) -> None:
        reasons.append(f"{reason}; {save_within_s:g} s")
        stopped.set()

    reporter = made(
        transport.control_client(launcher.socket.endpoint, b"server-0"), orders=Orders(stop=stop), orphan_timeout_s=1.0
    )
    reporter.start()
    try:
        began = time.monotonic()
        for _ in range(5):  # each asked for after a tenth of a second of silence
            launcher.hear(Acknowledge)
        assert not stopped.is_set()
        assert stopped.wait(DEADLINE_S)
        assert time.monotonic() - began >= 1.0
    finally:
        reporter.close(DEADLINE_S)
    assert reasons == ["the launcher has not answered for launcher.orphan_timeout_s = 1 s; inf s"]
