"""`ZmqPartReceiver`: the PULL socket of a server rank. Payloads are received straight into place where they can be."""

import sys
import time
from collections.abc import Callable, Mapping

import zmq

from melissa_like.errors import ProtocolError
from melissa_like.transport.bundles import LARGEST_BUNDLE_BYTES, LostBundle, OpenedBundle
from melissa_like.transport.interface import Place, Received, Target, copy_payload
from melissa_like.transport.shared_memory import Mappings, Notice, Probe
from melissa_like.transport.zmq_sockets import MORE, Arrivals, Socket, set_listening, set_options

__all__ = ["ZmqPartReceiver", "listening"]

_HEADER_LIMIT = 4096
_CIPHER_NBYTES = 64  # a frame that is encrypted is longer by 33 bytes
_MOST_FRAMES = 3  # of a bundle, behind its first one
_FRAMES_OF_A_NOTICE = 2  # an empty one and the notice


def listening(context: zmq.Context[Socket], queue_length: int, max_nbytes: int | None) -> Socket:
    """The PULL socket of a server rank, not bound; see `Transport.part_receiver`."""
    socket = context.socket(zmq.PULL)
    set_options(socket)
    set_listening(socket)
    socket.setsockopt(zmq.RCVHWM, queue_length)
    limit = -1 if max_nbytes is None else max(max_nbytes, LARGEST_BUNDLE_BYTES) + _CIPHER_NBYTES
    socket.setsockopt(zmq.MAXMSGSIZE, limit)
    return socket


class ZmqPartReceiver:
    """See `PartReceiver`.

    Args:
        socket: a PULL that is bound.
        endpoint: where it is reached.
        shares_memory: let senders of this node hand payloads over through shared memory.
        refused: connections that were refused, by reason.
    """

    def __init__(
        self, socket: Socket, endpoint: str, *, shares_memory: bool, refused: Callable[[], Mapping[str, int]]
    ) -> None:
        self.endpoint = endpoint
        self._socket = socket
        self._refused = refused
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

    @property
    def refused(self) -> Mapping[str, int]:
        """See `PartReceiver.refused`."""
        return self._refused()

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
        if len(header) > _HEADER_LIMIT:
            return Received(header=header[:_HEADER_LIMIT], nbytes=0, fault=f"a header of {len(header)} bytes")
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
        frames: list[zmq.Frame] = []
        while self._socket.getsockopt(MORE) and len(frames) <= _MOST_FRAMES:
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
                    return Received(header=b"", nbytes=0, fault=f"a bundle of {1 + len(frames)} frames or more")
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
        count, last = 0, b""
        while self._socket.getsockopt(MORE):
            count, last = count + 1, self._socket.recv()
        if count == _FRAMES_OF_A_NOTICE:
            payload = self._mappings.payload(last)
            if not isinstance(payload, str):
                payload.release()


def _probe() -> Probe | None:
    try:
        return Probe()
    except OSError as error:
        sys.stderr.write(f"no memory to share with the solvers of this node ({error}): parts travel over TCP\n")
        return None
