"""The control thread of a server rank: what it tells the launcher, and what the launcher tells it.

It owns the DEALER socket and the sinks. The other threads hand it what they have to say through one queue and never
touch the socket; so a receiver that waits for the buffer does not keep the launcher from hearing that the rank lives.
"""

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from melissa_like.assembly import Reason
from melissa_like.monitoring import Sink
from melissa_like.protocol.control import (
    Acknowledge,
    ControlMessage,
    Delivery,
    HeldOutOver,
    ListClosed,
    Metrics,
    Pressure,
    Progress,
    ReceptionOver,
    RejectedPart,
    ServerWelcome,
    SimulationOver,
    Standing,
    StepRange,
    Stop,
)
from melissa_like.protocol.link import Link
from melissa_like.protocol.liveness import Liveness
from melissa_like.records import StudyIdentity
from melissa_like.server.receiver import Arrival, Rejection
from melissa_like.transport import ControlClient

__all__ = ["Orders", "Reporter"]

_WAIT_S = 0.05
_REPORT_EVERY_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What to do when the launcher speaks, by default nothing; called on the control thread, must not block.

    Attributes:
        welcome: the server ranks may meet.
        standing: all of them have restored what they go on from; how many simulations were over before.
        simulation_over: nothing more comes of a simulation.
        held_out_over: nothing more comes of the held-out simulations.
        step_range: numbers of the first and the last time step of a simulation that has ended.
        list_closed: there are fewer simulations than the study asked for.
        reception_over: nothing more comes at all.
        stop: end at the next agreed training step: the reason, and the seconds that saving and reporting may take.
    """

    welcome: Callable[[ServerWelcome], None] = lambda message: None
    standing: Callable[[Standing], None] = lambda message: None
    simulation_over: Callable[[SimulationOver], None] = lambda message: None
    held_out_over: Callable[[], None] = lambda: None
    step_range: Callable[[int, int], None] = lambda first, last: None
    list_closed: Callable[[int], None] = lambda num_simulations: None
    reception_over: Callable[[], None] = lambda: None
    stop: Callable[[str, float], None] = lambda reason, save_within_s: None


class Reporter:
    """Owns the control socket of a server rank, on a thread of its own.

    Args:
        measure: the present metrics, for the live view and the sinks.
        put_waits: whether a complete sample waits for room right now.
        interval_s: between two reports of metrics.
        orphan_timeout_s: a launcher that lets a question wait for so long is gone: what it would order is `stop`.
    """

    def __init__(
        self,
        *,
        socket: ControlClient,
        identity: StudyIdentity,
        orders: Orders,
        measure: Callable[[], Metrics],
        put_waits: Callable[[], bool],
        sinks: Sequence[Sink],
        interval_s: float,
        on_error: Callable[[BaseException], None],
        orphan_timeout_s: float = math.inf,
    ) -> None:
        self._socket = socket
        self._link = Link(identity)
        self._orders = orders
        self._measure = measure
        self._put_waits = put_waits
        self._sinks = sinks
        self._interval_s = interval_s
        self._on_error = on_error
        self._orphan_timeout_s = orphan_timeout_s
        self._liveness = Liveness(orphan_timeout_s, time.monotonic())
        self._is_orphan = False
        self._inbox: queue.SimpleQueue[Arrival | Rejection | ControlMessage] = queue.SimpleQueue()
        self._pressed = False
        self._reported_at = 0.0
        self._measured_at = 0.0
        self._woken_at = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def tell(self, news: Arrival | Rejection | ControlMessage) -> None:
        """Hand over something to say; from any thread, never blocks.

        It is said within milliseconds, but for a part that delivers no sample. At full rate only every report wakes the
        control thread, for a wake-up per sample would cost the receiving thread more than the sample.
        """
        self._inbox.put(news)
        if isinstance(news, Arrival) and (not news.steps or time.monotonic() - self._woken_at < _REPORT_EVERY_S):
            return
        self._woken_at = time.monotonic()
        self._socket.wake()

    def close(self, timeout_s: float) -> None:
        """Say what is left, wait until the launcher has acknowledged it, and end the thread."""
        self._closing.set()
        if self._thread.is_alive():
            self._socket.wake()
            self._thread.join(timeout_s)
            assert not self._thread.is_alive(), "the control thread did not end"

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._turn()
            self._say_the_rest(time.monotonic() + 3.0)
        except BaseException as error:
            self._on_error(error)
        finally:
            self._socket.close(1.0)

    def _turn(self) -> None:
        received = self._socket.receive(self._patience())
        now = time.monotonic()
        if received is not None:
            self._liveness.hear(now)
            message = self._link.receive(received)
            if message is not None:
                self._obey(message)
        elif self._liveness.asks(now):
            self._post(Acknowledge())  # numbered, so it must be answered
        elif self._liveness.is_gone(now) and not self._is_orphan:
            self._is_orphan = True
            reason = f"the launcher has not answered for launcher.orphan_timeout_s = {self._orphan_timeout_s:g} s"
            self._orders.stop(reason, math.inf)  # nobody is left who would end this process
        for encoded in self._link.due(now):
            self._socket.send(encoded)
        if now - self._reported_at >= _REPORT_EVERY_S:
            self._reported_at = now
            self._report()
        if now - self._measured_at >= self._interval_s:
            self._measured_at = now
            self._report_metrics(now)

    def _patience(self) -> float:
        """Short while something waits to be said, or may come without a wake-up."""
        unwoken = time.monotonic() - self._woken_at < _REPORT_EVERY_S
        return _REPORT_EVERY_S if unwoken or not self._inbox.empty() else _WAIT_S

    def _say_the_rest(self, deadline: float) -> None:
        self._report()
        self._report_metrics(time.monotonic())
        while not self._link.settled and time.monotonic() < deadline:
            received = self._socket.receive(_WAIT_S)
            if received is not None:
                self._link.receive(received)
            for encoded in self._link.due(time.monotonic()):
                self._socket.send(encoded)

    def _obey(self, message: ControlMessage) -> None:
        match message:
            case ServerWelcome():
                self._orders.welcome(message)
            case Standing():
                self._orders.standing(message)
            case SimulationOver():
                self._orders.simulation_over(message)
            case HeldOutOver():
                self._orders.held_out_over()
            case ListClosed(num_simulations=num_simulations):
                self._orders.list_closed(num_simulations)
            case StepRange(first=first, last=last):
                self._orders.step_range(first, last)
            case ReceptionOver():
                self._orders.reception_over()
            case Stop(reason=reason, save_within_s=save_within_s):
                self._orders.stop(reason, save_within_s)
            case _:
                raise AssertionError(f"a server rank was told {type(message).__name__}")

    def _report(self) -> None:
        """Everything in the inbox: arrivals added up per attempt, the rest as it is, in order."""
        arrivals: dict[tuple[int, int], tuple[list[int], list[int], list[int], list[int]]] = {}
        others: list[ControlMessage] = []
        while not self._inbox.empty():
            news = self._inbox.get_nowait()
            if isinstance(news, Arrival):
                steps, dropped, held, count = arrivals.setdefault((news.simulation, news.attempt), ([], [], [], [0]))
                count[0] += news.counts
                steps += news.steps
                dropped += news.dropped
                held += news.held
            elif isinstance(news, Rejection):
                others.append(
                    RejectedPart(
                        simulation=news.simulation,
                        attempt=news.attempt,
                        reason=news.reason,
                        message=news.message,
                        breaks_contract=not Reason(news.reason).is_loss,
                    )
                )
            else:
                others.append(news)
        if arrivals:
            deliveries = tuple(
                Delivery(
                    simulation=simulation,
                    attempt=attempt,
                    steps=tuple(steps),
                    num_parts=count[0],
                    dropped=tuple(dropped),
                    held=tuple(held),
                )
                for (simulation, attempt), (steps, dropped, held, count) in arrivals.items()
            )
            self._post(Progress(deliveries=deliveries))
        for message in others:
            self._post(message)
        pressed = self._put_waits()
        if pressed != self._pressed:
            self._pressed = pressed
            self._post(Pressure(put_waits=pressed))

    def _report_metrics(self, now: float) -> None:
        metrics = self._measure()
        values = metrics.by_name()
        for sink in self._sinks:
            sink.write(now, values)
        self._socket.send(self._link.post_unnumbered(metrics))

    def _post(self, message: ControlMessage) -> None:
        self._socket.send(self._link.post(message, time.monotonic()))
