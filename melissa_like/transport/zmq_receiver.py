"""`ZmqPartReceiver`: the PULL socket of a server rank. Payloads are received straight into place where they can be."""

import sys
import time

import zmq

from melissa_like.errors import ProtocolError
from melissa_like.transport.bundles import LARGEST_BUNDLE_BYTES, LostBundle, OpenedBundle
from melissa_like.transport.interface import Place, Received, Target, copy_payload
from melissa_like.transport.shared_memory import Mappings, Notice, Probe
from melissa_like.transport.zmq_sockets import MORE, Arrivals, Socket, bind, set_options, tcp_address

__all__ = ["ZmqPartReceiver"]

_HEADER_LIMIT = 4096


class ZmqPartReceiver:
    """See `PartReceiver`."""

    def __init__(
        self,
        context: zmq.Context[Socket],
        host: str,
        queue_length: int,
        *,
        max_nbytes: int | None,
        shares_memory: bool,
    ) -> None:
        self._socket = context.socket(zmq.PULL)
        set_options(self._socket)
        self._socket.setsockopt(zmq.RCVHWM, queue_length)
        self._socket.setsockopt(zmq.MAXMSGSIZE, -1 if max_nbytes is None else max(max_nbytes, LARGEST_BUNDLE_BYTES))
        self.endpoint = bind(self._socket, tcp_address(host))
        self._mappings = Mappings()
        self._probe = _probe() if shares_memory else None
        if self._probe is not None:
            self.endpoint = self._probe.extend(self.endpoint)
        self._has_refused_ring = False
        self._arrivals = Arrivals(self._socket)
        self._bundle: OpenedBundle | LostBundle | None = None

    def receive(self, place: Place, timeout_s: float) -> Received | None:
        """See `PartReceiver.receive`."""
        if self._bundle is None:
            received = self._next_message(place, time.monotonic() + timeout_s)
            if received is not None or self._bundle is None:
                return received
        bundle = self._bundle
        if bundle.is_last:
            self._bundle = None
        return bundle.take(place)

    def wake(self) -> None:
        """See `PartReceiver.wake`."""
        self._arrivals.wake()

    def close(self) -> None:
        """See `PartReceiver.close`."""
        self._socket.close(linger=0)
        self._arrivals.close()
        if self._bundle is not None:
            self._bundle.close()
        self._mappings.close()
        if self._probe is not None:
            self._probe.close()

    def _next_message(self, place: Place, deadline: float) -> Received | None:
        """Until there is a part, or a bundle; None at the deadline, or when there is a bundle now."""
        while (first := self._first_frame(max(0.0, deadline - time.monotonic()))) is not None:
            try:
                received = self._receive_bundle() if not first else self._receive_single(first, place)
            finally:
                self._drop_the_rest()  # an exception of `place` leaves the rest of the message behind
            if received is not None or self._bundle is not None:
                return received
        return None

    def _first_frame(self, timeout_s: float) -> bytes | None:
        try:
            return self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return self._socket.recv() if self._arrivals.wait(timeout_s) else None

    def _receive_single(self, header: bytes, place: Place) -> Received:
        """A header and a payload; or a header, an empty frame and a notice of where the payload lies."""
        if not self._socket.getsockopt(MORE):
            return Received(header=header[:_HEADER_LIMIT], nbytes=0, fault="the message has no payload frame")
        target = place(header)
        nbytes, fault = self._receive_into(target)
        if not self._socket.getsockopt(MORE):
            return Received(header=header, nbytes=nbytes, fault=fault)
        payload = self._mappings.payload(self._socket.recv())
        if isinstance(payload, str):
            return Received(header=header, nbytes=0, fault=payload)
        nbytes = payload.memory.nbytes
        fault = None if target is None else copy_payload(payload.memory, target)
        payload.release()
        return Received(header=header, nbytes=nbytes, fault=fault)

    def _receive_into(self, target: Target | None) -> tuple[int, str | None]:
        if not isinstance(target, memoryview) or not target.nbytes:  # recv_into refuses an empty buffer
            payload = self._socket.recv(copy=False).buffer
            return len(payload), None if target is None else copy_payload(payload, target)
        nbytes = self._socket.recv_into(target)  # the true length, even where it truncates
        if nbytes != target.nbytes:
            return nbytes, f"the payload has {nbytes} bytes, {target.nbytes} were expected"
        return nbytes, None

    def _receive_bundle(self) -> Received | None:
        """Open it; its parts are handed out from now on. What is returned is why there are none.

        A bundle of nothing in shared memory offers a ring; no part comes of it.
        """
        frames = []
        while self._socket.getsockopt(MORE):
            frames.append(self._socket.recv(copy=False))
        try:
            match frames:
                case [index, body]:
                    self._bundle = OpenedBundle(index.buffer, body.buffer, lambda: None)
                case [index, _, offer] if not len(index.buffer):
                    self._answer(offer.bytes)
                case [index, _, notice]:
                    payload = self._mappings.payload(notice.bytes)
                    if isinstance(payload, str):
                        self._bundle = LostBundle(index.buffer, Notice.decode(notice.bytes).nbytes, payload)
                        return None
                    self._bundle = OpenedBundle(index.buffer, payload.memory, payload.release)
                case _:
                    return Received(header=b"", nbytes=0, fault=f"a bundle of {1 + len(frames)} frames")
        except ProtocolError as error:
            return Received(header=b"", nbytes=0, fault=str(error))
        return None

    def _answer(self, offer: bytes) -> None:
        """Prove that a ring can be read; else nothing comes through it. The first one that cannot is written down."""
        if self._probe is None:
            raise ProtocolError("a ring was offered to a server rank that shares no memory")
        refused = self._mappings.accept(offer, self._probe.token)
        if refused is not None and not self._has_refused_ring:
            self._has_refused_ring = True
            sys.stderr.write(f"{refused}: its parts travel over TCP, as those of others like it\n")

    def _drop_the_rest(self) -> None:
        """Of the present message, so that the next one is read from its start; what lies in a ring makes room."""
        frames = []
        while self._socket.getsockopt(MORE):
            frames.append(self._socket.recv())
        if len(frames) == 2:
            payload = self._mappings.payload(frames[1])
            if not isinstance(payload, str):
                payload.release()


def _probe() -> Probe | None:
    try:
        return Probe()
    except OSError as error:
        sys.stderr.write(f"no memory to share with the solvers of this node ({error}): parts travel over TCP\n")
        return None
